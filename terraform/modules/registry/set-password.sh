#!/bin/sh
# Sets the password of an ElastiCache user to the one in Secrets Manager. The one before stays valid
# beside it, so that pods which still have it reconnect until they are rolled. Safe to repeat.
# Environment: AWS_REGION, SECRET_ID, USER_ID. The password is in no argument, file or output.
set -eu

command -v aws >/dev/null 2>&1 || {
    echo "error: the AWS CLI is needed to set the registry's password; install it and apply again" >&2
    exit 1
}

password() {
    aws secretsmanager get-secret-value --region "$AWS_REGION" --secret-id "$SECRET_ID" \
        --version-stage "$1" --query SecretString --output text |
        sed -n 's/.*"password" *: *"\([A-Za-z0-9]*\)".*/\1/p'
}

current=$(password AWSCURRENT)
[ -n "$current" ] || {
    echo "error: the secret $SECRET_ID holds no password" >&2
    exit 1
}
previous=$(password AWSPREVIOUS 2>/dev/null || true)
passwords="\"$current\""
[ -z "$previous" ] || [ "$previous" = "$current" ] || passwords="$passwords,\"$previous\""

# Not --cli-input-json: the AWS CLI reads that file twice, and the second time standard input is empty.
printf '{"Type":"password","Passwords":[%s]}' "$passwords" |
    aws elasticache modify-user --region "$AWS_REGION" --user-id "$USER_ID" \
        --authentication-mode file:///dev/stdin --query Status --output text >/dev/null

# Until it is active, logging in may still fail.
for _ in $(seq "${WAIT_ROUNDS:-60}"); do
    status=$(aws elasticache describe-users --region "$AWS_REGION" --user-id "$USER_ID" \
        --query 'Users[0].Status' --output text)
    [ "$status" = active ] && exit 0
    sleep "${WAIT_SECONDS:-5}"
done
echo "error: the user $USER_ID is still \"$status\"; apply again" >&2
exit 1
