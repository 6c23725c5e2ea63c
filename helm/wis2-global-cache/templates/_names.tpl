{{- /* Names, labels and images. */ -}}

{{- define "wis2.name" -}}
{{- if gt (len .Release.Name) 30 }}{{ fail "the release's name may have 30 characters: names of pods are made from it" }}{{ end -}}
{{ .Release.Name }}
{{- end }}

{{- /* Arguments: (list root component). What selectors select by: it never changes. */ -}}
{{- define "wis2.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: wis2-global-cache
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "wis2.labels" -}}
{{- $root := index . 0 -}}
{{ include "wis2.selector" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: wis2-global-cache
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Arguments: (list root component). Labels of its pods. */ -}}
{{- define "wis2.podLabels" -}}
{{ include "wis2.selector" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with include "wis2.extra" (list (index . 0) (index . 1) "podLabels") }}
{{ . }}
{{- end }}
{{- end }}

{{- /* Arguments: (list root component name). What `pods` has for a component, as YAML, or "". */ -}}
{{- define "wis2.extra" -}}
{{- with dig (index . 1) (index . 2) "" (index . 0).Values.pods }}{{ toYaml . }}{{ end }}
{{- end }}

{{- /* Arguments: (list root service). */ -}}
{{- define "wis2.image" -}}
{{- $image := (index . 0).Values.image -}}
{{- $digest := get $image.digests (index . 1) -}}
{{ $image.registry }}/wis2-gc-{{ index . 1 }}
{{- if $digest }}@{{ $digest }}{{ else }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "wis2.serviceAccount" -}}
{{- dig (index . 1) "name" "" (index . 0).Values.serviceAccounts | default (printf "%s-%s" (include "wis2.name" (index . 0)) (index . 1)) }}
{{- end }}

{{- /* A setting as text. Helm reads numbers as floats: 1073741824 must not become 1.07e+09. */ -}}
{{- define "wis2.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ toString . }}{{ end }}
{{- end }}

{{- define "wis2.isFileStore" -}}
{{ if hasPrefix "file://" .Values.store.url }}true{{ end }}
{{- end }}

{{- define "wis2.storeDirectory" -}}
{{ trimPrefix "file://" .Values.store.url }}
{{- end }}

{{- define "wis2.claim" -}}
{{ .Values.store.volume.existingClaim | default (printf "%s-store" (include "wis2.name" .)) }}
{{- end }}

{{- define "wis2.priorityClass" -}}
{{- with .Values.scheduling.priorityClass }}{{ if .create }}{{ include "wis2.name" $ }}{{ else }}{{ .name }}{{ end }}{{ end }}
{{- end }}
