{{/* Names and labels. */}}

{{- define "odradek.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* With "-orchestrators" it has 52 characters at most: Kubernetes adds eleven to a StatefulSet's name and makes a label of it. */}}
{{- define "odradek.fullname" -}}
{{- $name := include "odradek.name" . -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- $full | trunc 38 | trimSuffix "-" -}}
{{- end -}}

{{/* Of (root, component, pool): what selects the pods. It can never change. */}}
{{- define "odradek.selector" -}}
app.kubernetes.io/name: {{ include "odradek.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
odradek/pool: {{ . }}
{{- end }}
{{- end -}}

{{/* Of (root, component, pool). */}}
{{- define "odradek.labels" -}}
{{ include "odradek.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "odradek.orchestrators" -}}
{{ include "odradek.fullname" . }}-orchestrators
{{- end -}}

{{/* Of (root, pool). */}}
{{- define "odradek.workers" -}}
{{ include "odradek.fullname" .root }}-workers-{{ .pool }}
{{- end -}}

{{/* Of (account, name): the service account that a role's pods run under. */}}
{{- define "odradek.account" -}}
{{- .account.name | default (ternary .name "default" .account.create) -}}
{{- end -}}

{{/* Of (root, image): as one text. */}}
{{- define "odradek.image" -}}
{{- $image := mergeOverwrite (deepCopy .root.Values.image) (default dict .image) -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of (root, pool): the pool's settings over the defaults of all pools. As YAML. */}}
{{- define "odradek.pool" -}}
{{- mergeOverwrite (deepCopy .root.Values.workerDefaults) (index .root.Values.workers .pool | default dict) | toYaml -}}
{{- end -}}

{{/* Every task queue that this release knows, as a JSON list. */}}
{{- define "odradek.queues" -}}
{{- $queues := .Values.topics.queues -}}
{{- range $name, $pool := .Values.workers -}}
{{- $queues = append $queues $pool.queue -}}
{{- end -}}
{{- $queues | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/* Names of topics and groups, as odradek.schemas.topics has them. */}}
{{- define "odradek.topic.inbox" -}}{{ .Values.namespace }}.inbox{{- end -}}
{{- define "odradek.group.orchestrators" -}}{{ .Values.namespace }}.orchestrators{{- end -}}
{{/* Of (root, queue). */}}
{{- define "odradek.topic.tasks" -}}{{ .root.Values.namespace }}.tasks.{{ .queue }}{{- end -}}
{{- define "odradek.group.workers" -}}{{ .root.Values.namespace }}.workers.{{ .queue }}{{- end -}}
