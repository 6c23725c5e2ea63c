# The three images, for `docker buildx bake`. Variables come from the environment (`make images` gets
# most of them from git, see build.sh); the base images come from bases.json.
variable "REGISTRY" { default = "" } # `host/folder/`
variable "TAG" { default = "latest" }
variable "BASE" {}
variable "BUILD_BASE" {}
variable "VERSION" { default = "0" }
variable "REVISION" { default = "unknown" }
variable "CREATED" { default = "unknown" }
variable "SOURCE" { default = "unknown" }
variable "PLATFORM" { default = null }
variable "HTTP_PROXY" { default = null } # known to the steps, and not kept
variable "HTTPS_PROXY" { default = null }
variable "NO_PROXY" { default = null }

group "default" {
  targets = ["listener", "manager", "metrics"]
}

target "images" {
  name       = service
  matrix     = { service = ["listener", "manager", "metrics"] }
  dockerfile = "images/Dockerfile"
  target     = service
  tags       = ["${REGISTRY}wis2-gc-${service}:${TAG}"]
  platforms  = PLATFORM == null ? null : [PLATFORM]
  args = {
    SERVICE     = service
    BASE        = BASE
    BUILD_BASE  = BUILD_BASE
    VERSION     = VERSION
    REVISION    = REVISION
    CREATED     = CREATED
    SOURCE      = SOURCE
    HTTP_PROXY  = HTTP_PROXY
    HTTPS_PROXY = HTTPS_PROXY
    NO_PROXY    = NO_PROXY
  }
}
