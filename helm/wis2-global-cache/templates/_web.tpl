{{- /* Arguments: (list root component host path). How the world reaches a Service: one choice. */ -}}
{{- define "wis2.web" -}}
{{- $root := index . 0 -}}
{{- $web := $root.Values.web -}}
{{- $name := printf "%s-%s" (include "wis2.name" $root) (index . 1) -}}
{{- if eq $web.mode "ingress" -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $name }}
  labels: {{- include "wis2.labels" (list $root (index . 1)) | nindent 4 }}
  {{- $annotations := $web.ingress.annotations | default dict }}
  {{- with $web.ingress.clusterIssuer }}
  {{- $annotations = merge (dict "cert-manager.io/cluster-issuer" .) $annotations }}
  {{- end }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $web.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    - host: {{ index . 2 | quote }}
      http:
        paths:
          - path: {{ index . 3 | quote }}
            pathType: Prefix
            backend:
              service:
                name: {{ $name }}
                port: {name: http}
  {{- if $web.ingress.tls }}
  tls:
    - hosts: [{{ index . 2 | quote }}]
      secretName: {{ $name }}-tls
  {{- end }}
{{- else if eq $web.mode "gateway" -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ $name }}
  labels: {{- include "wis2.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  parentRefs:
    - name: {{ $web.gateway.name }}
      {{- with $web.gateway.namespace }}
      namespace: {{ . }}
      {{- end }}
      {{- with $web.gateway.sectionName }}
      sectionName: {{ . }}
      {{- end }}
  hostnames: [{{ index . 2 | quote }}]
  rules:
    - matches:
        - path: {type: PathPrefix, value: {{ index . 3 | quote }}}
      backendRefs:
        - {name: {{ $name }}, port: 80}
{{- end }}
{{- end }}
