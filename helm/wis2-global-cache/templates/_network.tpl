{{- /* Peers of the network policies. */ -}}

{{- /* Addresses no stranger's link may lead to: private, local, the metadata services'. */ -}}
{{- define "wis2.internet" -}}
{{- include "wis2.internetWithout" "" }}
{{- end }}

{{- /* A network of GC_ALLOWED_NETWORKS or GC_DENIED_NETWORKS, which may be one address. */ -}}
{{- define "wis2.cidr" -}}
{{- if contains "/" . }}{{ . }}{{ else }}{{ . }}/{{ ternary 128 32 (contains ":" .) }}{{ end }}
{{- end }}

{{- /* The internet less these networks too: comma-separated. */ -}}
{{- define "wis2.internetWithout" -}}
{{- $v4 := list }}
{{- $v6 := list }}
{{- range splitList "," . }}
{{- with trim . }}
{{- if contains ":" . }}{{ $v6 = append $v6 (include "wis2.cidr" .) }}{{ else }}{{ $v4 = append $v4 (include "wis2.cidr" .) }}{{ end }}
{{- end }}
{{- end -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except:
      - 0.0.0.0/8
      - 10.0.0.0/8
      - 100.64.0.0/10
      - 127.0.0.0/8
      - 168.63.129.16/32
      - 169.254.0.0/16
      - 172.16.0.0/12
      - 192.0.0.0/24
      - 192.168.0.0/16
      - 198.18.0.0/15
      - 224.0.0.0/4
      - 240.0.0.0/4
      {{- range $v4 }}
      - {{ . | quote }}
      {{- end }}
- ipBlock:
    cidr: ::/0
    except:
      - ::1/128
      - 64:ff9b::/96
      - 2001::/32
      - 2002::/16
      - fc00::/7
      - fe80::/10
      - ff00::/8
      {{- range $v6 }}
      - {{ . | quote }}
      {{- end }}
{{- end }}

{{- define "wis2.networks" -}}
{{- range . }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "wis2.toRegistry" -}}
{{- if .Values.redis.enabled }}
- to:
    - podSelector:
        matchLabels: {{- include "wis2.selector" (list . "redis") | nindent 10 }}
  ports:
    - {protocol: TCP, port: 6379}
{{- else }}
- to: {{- include "wis2.networks" .Values.networkPolicy.registry.networks | trim | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ .Values.networkPolicy.registry.port }}}
{{- end }}
{{- end }}

{{- /* The agent on the node that hands out the pod's role; interface endpoints, an S3-compatible store.
AWS' public addresses are the caller's: an address range that stands in two rules of a policy, once with
all ports, is merged wrongly by the network policy controller of the VPC CNI. */ -}}
{{- define "wis2.toAws" -}}
{{- if .Values.aws.region }}
- to:
    - ipBlock: {cidr: 169.254.170.23/32}
    - ipBlock: {cidr: "fd00:ec2::23/128"}
  ports:
    - {protocol: TCP, port: 80}
{{- end }}
{{- with .Values.networkPolicy.store.networks }}
- to: {{- include "wis2.networks" . | trim | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ $.Values.networkPolicy.store.port }}}
{{- end }}
{{- end }}

{{- define "wis2.policyHead" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "wis2.name" $root }}-{{ index . 1 }}
  labels: {{- include "wis2.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "wis2.selector" . | nindent 6 }}
{{- end }}

{{- /* Arguments: (list root component), or (list root component broker) for one listener. */ -}}
{{- define "wis2.disruption" -}}
{{- $root := index . 0 -}}
{{- $broker := "" }}
{{- if gt (len .) 2 }}{{ $broker = index . 2 }}{{ end -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "wis2.name" $root }}-{{ index . 1 }}{{ with $broker }}-{{ . }}{{ end }}
  labels: {{- include "wis2.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "wis2.selector" . | nindent 6 }}
      {{- with $broker }}
      wis2-global-cache/broker: {{ . | quote }}
      {{- end }}
{{- end }}
