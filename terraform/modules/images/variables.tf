variable "name" {
  description = "First part of the repositories' names."
  type        = string
}

variable "services" {
  description = "Services that have an image."
  type        = set(string)
}

variable "kept_images" {
  description = "Images kept of each service (2 to 1000)."
  type        = number
}

variable "force_delete" {
  description = "Whether destroying a repository deletes its images."
  type        = bool
}
