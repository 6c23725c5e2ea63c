"""Chart, images, Docker and Terraform, as the tests of the deployment see them."""
