variable "names" {
  description = "Names of the addresses to make, in the order in which they are used; empty when all are given."
  type        = set(string)
}

variable "protected" {
  description = "Whether a plan that would destroy one of them fails."
  type        = bool
}

variable "existing_allocation_ids" {
  description = "Allocation ids (`eipalloc-…`) of addresses to use instead."
  type        = list(string)
  default     = []
}
