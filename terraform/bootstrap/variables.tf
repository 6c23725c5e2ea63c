variable "account_id" {
  description = "AWS account, 12 digits; with credentials of another one nothing is touched."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be the 12 digits of the AWS account."
  }
}

variable "region" {
  description = "AWS region of the bucket, as in `eu-west-3`."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region))
    error_message = "region must be an AWS region, as in eu-west-3."
  }
}

variable "bucket_name" {
  description = "Name of the bucket; null: wis2-gc-state-{account_id}-{region}."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be 3 to 63 lower-case letters, digits or '-', or null."
  }
}

variable "kept_days" {
  description = "Days (1 to 3650) that former versions of a state are kept."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.kept_days >= 1 && var.kept_days <= 3650
    error_message = "kept_days must be 1 to 3650."
  }
}

variable "tags" {
  description = "Tags on everything, in addition to Project and ManagedBy."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.tags), ["Project", "ManagedBy"])) == 0
    error_message = "tags must not have Project or ManagedBy: these are set already."
  }
}
