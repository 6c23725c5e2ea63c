resource "aws_cloudfront_distribution" "this" {
  #checkov:skip=CKV_AWS_68:Static public files by GET and HEAD; there is no application behind them that a firewall could guard.
  #checkov:skip=CKV2_AWS_47:Files only; nothing here runs Log4j.
  #checkov:skip=CKV_AWS_86:Access logs would hold consumers' addresses; the distribution's metrics tell the traffic.
  #checkov:skip=CKV_AWS_310:One origin: the bucket is regional and spread over three zones; other caches are the fail-over.
  #checkov:skip=CKV_AWS_374:WIS2 core data is for the whole world.
  comment             = "WIS2 Global Cache ${var.name}: data"
  enabled             = true
  is_ipv6_enabled     = true
  http_version        = "http2" # and HTTP/1.1
  price_class         = var.price_class
  aliases             = [var.domain]
  default_root_object = "index.html" # does not exist, so `/` answers 404 and never a list

  origin {
    origin_id                = "bucket"
    domain_name              = aws_s3_bucket.this.bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.this.id
  }

  default_cache_behavior {
    target_origin_id           = "bucket"
    viewer_protocol_policy     = "redirect-to-https"
    allowed_methods            = ["GET", "HEAD"]
    cached_methods             = ["GET", "HEAD"]
    cache_policy_id            = aws_cloudfront_cache_policy.this.id
    response_headers_policy_id = aws_cloudfront_response_headers_policy.this.id
    # The announced bytes, with their hash and size: nothing may change them on the way.
    compress = false
  }

  # A consumer that asked a moment too early must not get the same 404 for long.
  dynamic "custom_error_response" {
    for_each = [403, 404]

    content {
      error_code            = custom_error_response.value
      error_caching_min_ttl = 1
    }
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    acm_certificate_arn      = var.certificate_arn
    ssl_support_method       = "sni-only"
    minimum_protocol_version = "TLSv1.2_2021"
  }
}

resource "aws_cloudfront_origin_access_control" "this" {
  name                              = var.name
  description                       = "Reads the bucket of ${var.name}"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_cache_policy" "this" {
  name        = var.name
  comment     = "An object never changes under its key; queries, cookies and headers mean nothing"
  min_ttl     = 1
  default_ttl = 86400
  max_ttl     = 86400

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_brotli = false
    enable_accept_encoding_gzip   = false

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    query_strings_config {
      query_string_behavior = "none"
    }
  }
}

# The data comes from strangers: a browser must not run any of it.
resource "aws_cloudfront_response_headers_policy" "this" {
  #checkov:skip=CKV_AWS_259:HSTS is set, for this name; preloading is for the owner of the whole domain to decide.
  name    = var.name
  comment = "Data items are never run by a browser"

  security_headers_config {
    content_type_options {
      override = true
    }

    content_security_policy {
      content_security_policy = "sandbox; default-src 'none'"
      override                = true
    }

    frame_options {
      frame_option = "DENY"
      override     = true
    }

    referrer_policy {
      referrer_policy = "no-referrer"
      override        = true
    }

    strict_transport_security {
      access_control_max_age_sec = 31536000
      override                   = true
    }
  }
}

# Metrics of CloudFront live in us-east-1.
resource "aws_cloudwatch_metric_alarm" "errors" {
  provider = aws.us_east_1

  alarm_name          = "${var.name}-data-errors"
  alarm_description   = "More than 1 % of the requests to https://${var.domain} ended in a server error for 15 minutes."
  namespace           = "AWS/CloudFront"
  metric_name         = "5xxErrorRate"
  dimensions          = { DistributionId = aws_cloudfront_distribution.this.id, Region = "Global" }
  statistic           = "Average"
  period              = 300
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarm_topic_arn]
  ok_actions          = [var.alarm_topic_arn]
}
