{{- /* Names of secrets, and what makes pods follow them. */ -}}

{{- define "wis2.registrySecret" -}}
{{- with .Values.registry }}{{ if .secretArn }}{{ include "wis2.name" $ }}-registry{{ else }}{{ .secretName }}{{ end }}{{ end }}
{{- end }}

{{- define "wis2.brokerSecret" -}}
{{- with .Values.broker }}{{ if .secretArn }}{{ include "wis2.name" $ }}-broker{{ else }}{{ .secretName }}{{ end }}{{ end }}
{{- end }}

{{- define "wis2.deploymentSecret" -}}
{{- with .Values.deploymentSecret }}{{ if .secretArn }}{{ include "wis2.name" $ }}-deployment{{ else }}{{ .secretName }}{{ end }}{{ end }}
{{- end }}

{{- /* Arguments: (list root entry-of-brokers). */ -}}
{{- define "wis2.globalBrokerSecret" -}}
{{- $broker := index . 1 -}}
{{ if $broker.secretArn }}{{ include "wis2.name" (index . 0) }}-listener-{{ $broker.name }}{{ else }}{{ $broker.secretName }}{{ end }}
{{- end }}

{{- /* Arguments: (list root name-of-secret arn names-in-secrets.revisions…). Changes when the secret does:
so its pods roll, and no others. An existing secret is looked at (its version, never what is in it). One from
the external store comes into being only after the first install, which would roll everything at the second:
for it there are secrets.revisions and secrets.revision. */ -}}
{{- define "wis2.secretVersion" -}}
{{- $root := index . 0 -}}
{{- $arn := index . 2 -}}
{{- $versions := list (index . 1) $arn $root.Values.secrets.revision -}}
{{- if not $arn }}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 1) }}
{{- $versions = append $versions (dig "metadata" "resourceVersion" "" $found) }}
{{- end -}}
{{- range slice . 3 }}
{{- $versions = append $versions (dig . "" $root.Values.secrets.revisions) }}
{{- /* External Secrets makes the whole URL from this one; an existing secret has it whole. */}}
{{- if eq . "registry" }}{{ $versions = append $versions (ternary $root.Values.registry.url "" (ne $arn "")) }}{{ end }}
{{- end -}}
{{ $versions | toJson | sha256sum | trunc 16 }}
{{- end }}

{{- /* Arguments: (dict root component name arn). An ExternalSecret; its `data` is up to the caller. */ -}}
{{- define "wis2.externalSecretHead" -}}
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ .name }}
  labels: {{- include "wis2.labels" (list .root .component) | nindent 4 }}
spec:
  refreshInterval: {{ .root.Values.secrets.externalStore.refreshInterval }}
  secretStoreRef:
    kind: {{ .root.Values.secrets.externalStore.kind }}
    name: {{ .root.Values.secrets.externalStore.name }}
  dataFrom:
    - extract:
        key: {{ .arn | quote }}
{{- end }}

{{- define "wis2.brokerTlsSecret" -}}
{{- if eq .Values.broker.tls.mode "certManager" }}{{ include "wis2.name" . }}-broker-tls{{ else }}{{ .Values.broker.tls.secretName }}{{ end }}
{{- end }}
