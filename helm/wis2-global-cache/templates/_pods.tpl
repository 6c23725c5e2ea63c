{{- /* What all pods have in common. */ -}}

{{- /* Arguments: (list user), or (list user group-of-volumes). */ -}}
{{- define "wis2.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ index . 0 }}
runAsGroup: {{ index . 0 }}
fsGroup: {{ last . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "wis2.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Arguments: (list root component). */ -}}
{{- define "wis2.placement" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.scheduling -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ .spreadZones }}
    labelSelector:
      matchLabels: {{- include "wis2.selector" (list $root (index $ 1)) | nindent 8 }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ .spreadNodes }}
    labelSelector:
      matchLabels: {{- include "wis2.selector" (list $root (index $ 1)) | nindent 8 }}
{{- with dig (index $ 1) "priorityClassName" "" $root.Values.pods | default (include "wis2.priorityClass" $root) }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- $affinity := dig (index . 1) "affinity" dict $root.Values.pods }}
{{- with and (eq (index . 1) "broker") $root.Values.broker.zones }}
{{- $in := list (dict "key" "topology.kubernetes.io/zone" "operator" "In" "values" .) }}
{{- $terms := dict "nodeSelectorTerms" (list (dict "matchExpressions" $in)) }}
{{- $affinity = merge (dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" $terms)) $affinity }}
{{- end }}
{{- with $affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $root.Values.image.pullSecrets (dig (index . 1) "imagePullSecrets" list $root.Values.pods) }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Longer than anybody waits for a release: its own time-out decides, not Kubernetes' ten minutes. */ -}}
{{- define "wis2.progressDeadline" -}}
progressDeadlineSeconds: 1800
{{- end }}

{{- /* For pods that keep what is lost or missed when they move: the cluster autoscaler moves none to save a node.
       Not karpenter.sh/do-not-disrupt: such a pod is not evicted from an expired node, and is killed there at last,
       with all others whose nodes are as old. */ -}}
{{- define "wis2.stay" -}}
cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
{{- end }}

{{- /* Arguments: (list root component). What speaks with the Kubernetes API asks for a token in its pod. Pod
Identity projects one of its own. */ -}}
{{- define "wis2.serviceAccountManifest" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "wis2.serviceAccount" . }}
  labels: {{- include "wis2.labels" . | nindent 4 }}
  {{- with dig $component "roleArn" "" $root.Values.serviceAccounts }}
  annotations:
    # Only shown. eks.amazonaws.com/role-arn would be IRSA, and win over Pod Identity.
    wis2-global-cache/pod-identity-role: {{ . | quote }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{- /* Arguments: (list root service). The container of listener, manager and metrics up to its own
environment: what is left to the caller is `env` and `volumeMounts` of its own. */ -}}
{{- define "wis2.container" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
name: {{ $service }}
image: {{ include "wis2.image" . | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [wis2-gc-{{ $service }}]
securityContext: {{- include "wis2.containerSecurity" . | nindent 2 }}
resources: {{- toYaml (get $root.Values $service).resources | nindent 2 }}
ports:
  - name: http
    containerPort: 8080
# On a node without time to spare (all pods of a drained one start there) a start may take minutes.
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
# Alive means that work goes on: what hangs for a minute is restarted.
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  {{- /* Of the metrics service, /readyz speaks for the whole cache: when that is not well, its metrics
  are wanted most. */}}
  httpGet: {path: {{ ternary "/healthz" "/readyz" (eq $service "metrics") }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
envFrom:
  - configMapRef:
      name: {{ include "wis2.name" $root }}-{{ $service }}
{{- end }}

{{- /* Environment that all three services share. */ -}}
{{- define "wis2.commonEnv" -}}
- name: GC_REDIS_URL_FILE
  value: /run/secrets/registry/url
{{- end }}

{{- define "wis2.commonMounts" -}}
- name: tmp
  mountPath: /tmp
- name: registry
  mountPath: /run/secrets/registry
  readOnly: true
{{- end }}

{{- define "wis2.commonVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
- name: registry
  secret:
    secretName: {{ include "wis2.registrySecret" . }}
    defaultMode: 0440
    items:
      - {key: url, path: url}
{{- end }}

{{- define "wis2.caMount" -}}
{{- if .Values.certificateAuthorities.configMapName }}
- name: ca
  mountPath: /etc/wis2-gc/ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "wis2.caVolume" -}}
{{- with .Values.certificateAuthorities.configMapName }}
- name: ca
  configMap:
    name: {{ . }}
    items:
      - {key: ca.pem, path: ca.pem}
{{- end }}
{{- end }}

{{- /* What listener, manager and metrics know alike. */ -}}
{{- define "wis2.commonSettings" -}}
GC_CENTRE_ID: {{ .Values.centreId | quote }}
GC_QUEUE_URL: {{ .Values.queue.url | quote }}
GC_HTTP_PORT: "8080"
{{- with .Values.aws.region }}
AWS_REGION: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "wis2.caSetting" -}}
{{- if .Values.certificateAuthorities.configMapName }}
GC_CA_FILE: /etc/wis2-gc/ca/ca.pem
{{- end }}
{{- end }}

{{- define "wis2.settings" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ include "wis2.text" $value | quote }}
{{- end }}
{{- end }}
