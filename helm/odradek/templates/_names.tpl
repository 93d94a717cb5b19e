{{/* Names and labels. */}}

{{- define "odradek.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimAll "-" -}}
{{- end -}}

{{/* With "-orchestrators" it has 52 characters at most: Kubernetes adds eleven to a StatefulSet's name and makes a label of it. */}}
{{- define "odradek.fullname" -}}
{{- $name := include "odradek.name" . -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- $full | trunc 38 | trimAll "-" -}}
{{- end -}}

{{/* Of (root, component, pool): what selects the pods. It can never change. */}}
{{- define "odradek.selector" -}}
app.kubernetes.io/name: {{ include "odradek.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
odradek/pool: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Of (root, component, pool, image): of a pod. Only what is the pod's own, so that a change elsewhere restarts none. */}}
{{- define "odradek.podLabels" -}}
{{ include "odradek.selector" . }}
app.kubernetes.io/version: {{ include "odradek.version" . | quote }}
{{- end -}}

{{/* Of (root, component, pool, image). */}}
{{- define "odradek.labels" -}}
{{ include "odradek.podLabels" . }}
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

{{/*
Of (root, image): the image of a role, as YAML. What it leaves empty is taken from the image of all, but the digest, which
belongs to a repository and a tag.
*/}}
{{- define "odradek.imageOf" -}}
{{- $image := deepCopy .root.Values.image -}}
{{- $own := default dict .image -}}
{{- if or $own.repository $own.tag -}}{{- $_ := unset $image "digest" -}}{{- end -}}
{{- range $key, $value := $own -}}
{{- if $value -}}{{- $_ := set $image $key $value -}}{{- end -}}
{{- end -}}
{{- $image | toYaml -}}
{{- end -}}

{{/* Of (root, image): what runs, as a label may say it. */}}
{{- define "odradek.version" -}}
{{- $image := include "odradek.imageOf" . | fromYaml -}}
{{- $tag := $image.tag | default .root.Chart.AppVersion | trunc 63 | trimAll "-._" -}}
{{- default "" $image.digest | trimPrefix "sha256:" | trunc 12 | default $tag -}}
{{- end -}}

{{/* Of (root, image): as one text. */}}
{{- define "odradek.image" -}}
{{- $image := include "odradek.imageOf" . | fromYaml -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Of (root, pool): the pool's settings over the defaults of all pools. As YAML. */}}
{{- define "odradek.pool" -}}
{{- $own := index .root.Values.workers .pool | default dict -}}
{{- $role := mergeOverwrite (deepCopy .root.Values.workerDefaults) (deepCopy $own) -}}
{{- $image := default dict $own.image -}}
{{- if and (or $image.repository $image.tag) (not $image.digest) -}}
{{- $_ := unset (default dict $role.image) "digest" -}}
{{- end -}}
{{- $role | toYaml -}}
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

{{/* Of a scalar: its text. Helm reads every number as a float, and Go would write a million as 1e+06. */}}
{{- define "odradek.text" -}}
{{- if kindIs "float64" . -}}{{ toJson . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}
