{{/* Jobs before and after install and upgrade. */}}

{{/* What the jobs before it need; gone again when they are over. */}}
{{- define "odradek.hookObject" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: "-20"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* Of (hook, weight): what makes a job or pod a hook. Helm shows its messages where it fails. */}}
{{- define "odradek.hook" -}}
helm.sh/hook: {{ .hook }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation
helm.sh/hook-output-log-policy: hook-failed
{{- end -}}

{{/* Of (root, component, args, hook, weight, retries, suffix, account, image, pod: without it as jobs.pod says, final: exit codes without a retry). */}}
{{- define "odradek.job" -}}
{{- $jobs := .root.Values.jobs -}}
{{- $name := printf "%s-%s" (include "odradek.fullname" .root) .component -}}
{{- $part := dict "root" .root "component" .component "args" .args "suffix" .suffix "account" .account "image" .image "pod" (.pod | default $jobs.pod) "resources" $jobs.resources "grace" 30 "restart" "Never" -}}
{{- if eq .hook "test" -}}
{{- /* "helm test --logs" shows those of pods only. */ -}}
apiVersion: v1
kind: Pod
{{ include "odradek.podTemplate" (merge $part (dict "name" $name "hook" (include "odradek.hook" .))) }}
{{- else -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels:
    {{- include "odradek.labels" $part | nindent 4 }}
  annotations:
    {{- include "odradek.hook" . | nindent 4 }}
spec:
  backoffLimit: {{ .retries }}
  {{- with .final }}
  podFailurePolicy:
    rules:
      - action: FailJob
        onExitCodes:
          operator: In
          values: {{ toJson . }}
        onPodConditions: []
  {{- end }}
  activeDeadlineSeconds: {{ int64 $jobs.deadlineSeconds }}
  ttlSecondsAfterFinished: {{ int64 $jobs.keepSeconds }}
  template:
    {{- include "odradek.podTemplate" $part | nindent 4 }}
{{- end -}}
{{- end -}}
