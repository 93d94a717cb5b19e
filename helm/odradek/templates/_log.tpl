{{/* How the log is reached: settings, secrets, and the variables and volumes that carry them into pods. */}}

{{- define "odradek.log.protocol" -}}
{{- if .Values.log.sasl.mechanism -}}
{{ ternary "SASL_SSL" "SASL_PLAINTEXT" .Values.log.tls.enabled }}
{{- else if .Values.log.tls.enabled -}}
SSL
{{- end -}}
{{- end -}}

{{/* Whether the password is in a Secret of the user's, and comes by an environment variable. */}}
{{- define "odradek.log.passwordByEnv" -}}
{{- if and .Values.log.sasl.mechanism .Values.log.sasl.existingSecret.name (not .Values.log.existingSecret.name) -}}yes{{- end -}}
{{- end -}}

{{/* librdkafka settings that are no secrets, as a properties file. */}}
{{- define "odradek.log.settings" -}}
{{- $log := .Values.log -}}
{{- $settings := dict -}}
{{- with include "odradek.log.protocol" . -}}{{- $_ := set $settings "security.protocol" . -}}{{- end -}}
{{- with $log.sasl.mechanism -}}{{- $_ := set $settings "sasl.mechanism" . -}}{{- end -}}
{{- if $log.tls.enabled -}}
{{- if or $log.tls.ca.secret $log.tls.ca.configMap -}}{{- $_ := set $settings "ssl.ca.location" (printf "/etc/odradek/ca/%s" $log.tls.ca.key) -}}{{- end -}}
{{- if $log.tls.client.secret -}}
{{- $_ := set $settings "ssl.certificate.location" (printf "/etc/odradek/client/%s" $log.tls.client.certKey) -}}
{{- $_ := set $settings "ssl.key.location" (printf "/etc/odradek/client/%s" $log.tls.client.keyKey) -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := $log.config -}}{{- $_ := set $settings $key $value -}}{{- end -}}
# Settings of librdkafka, from the values of {{ .Release.Name }}.
{{- range $key, $value := $settings }}
{{ $key }}={{ include "odradek.text" $value }}
{{- end }}
{{- end -}}

{{/* Those that are, as a properties file; empty if there are none. */}}
{{- define "odradek.log.secretSettings" -}}
{{- $sasl := .Values.log.sasl -}}
{{- $settings := dict -}}
{{- if and $sasl.mechanism (not $sasl.existingSecret.name) -}}
{{- with $sasl.username -}}{{- $_ := set $settings "sasl.username" . -}}{{- end -}}
{{- with $sasl.password -}}{{- $_ := set $settings "sasl.password" (trimSuffix "\n" .) -}}{{- end -}}
{{- end -}}
{{- range $key, $value := .Values.log.secretConfig -}}{{- $_ := set $settings $key $value -}}{{- end -}}
{{- range $key, $value := $settings }}
{{ $key }}={{ include "odradek.text" $value }}
{{- end }}
{{- end -}}

{{/* What the chart's own Secret holds, as JSON; {} where everything is in Secrets of the user's. */}}
{{- define "odradek.secretData" -}}
{{- $data := dict -}}
{{- if not .Values.log.existingSecret.name -}}
{{- with include "odradek.log.secretSettings" . | trim -}}{{- $_ := set $data "client.properties" (printf "%s\n" .) -}}{{- end -}}
{{- /* KEDA takes them one by one, and only from a Secret. */ -}}
{{- if .Values.log.sasl.mechanism -}}
{{- with .Values.log.sasl.username -}}{{- $_ := set $data "username" . -}}{{- end -}}
{{- if not .Values.log.sasl.existingSecret.name -}}{{- with .Values.log.sasl.password -}}{{- $_ := set $data "password" (trimSuffix "\n" .) -}}{{- end -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if not .Values.redis.existingSecret.name -}}{{- with .Values.redis.url -}}{{- $_ := set $data "redis-url" . -}}{{- end -}}{{- end -}}
{{- if not .Values.schemaRegistry.existingSecret.name -}}{{- with .Values.schemaRegistry.url -}}{{- $_ := set $data "schema-registry-url" . -}}{{- end -}}{{- end -}}
{{- $data | toJson -}}
{{- end -}}

{{/* Of (root, suffix): the Secret and the key of a file of secret settings, as JSON; empty if there is none. */}}
{{- define "odradek.log.secretFile" -}}
{{- $own := include "odradek.secretData" .root | fromJson -}}
{{- if .root.Values.log.existingSecret.name -}}
{{- dict "name" .root.Values.log.existingSecret.name "key" .root.Values.log.existingSecret.key | toJson -}}
{{- else if hasKey $own "client.properties" -}}
{{- dict "name" (printf "%s%s" (include "odradek.fullname" .root) .suffix) "key" "client.properties" | toJson -}}
{{- end -}}
{{- end -}}

{{/* Of (root, suffix, given, key): a reference to a URL in the user's Secret or the chart's. */}}
{{- define "odradek.urlRef" -}}
{{- $existing := .given.existingSecret -}}
valueFrom:
  secretKeyRef:
    name: {{ $existing.name | default (printf "%s%s" (include "odradek.fullname" .root) .suffix) }}
    key: {{ ternary $existing.key .key (ne $existing.name "") }}
{{- end -}}

{{/* Of (root, suffix, redis): the variables that every odradek process reads, as a YAML map of name to the rest. */}}
{{- define "odradek.log.env" -}}
{{- $log := .root.Values.log -}}
{{- $files := list "/etc/odradek/log/client.properties" -}}
{{- with include "odradek.log.secretFile" . -}}
{{- $files = append $files (printf "/etc/odradek/secret/%s" (. | fromJson).key) -}}
{{- end -}}
{{- if include "odradek.log.passwordByEnv" .root -}}
{{- $secret := $log.sasl.existingSecret }}
- name: ODRADEK_SASL_USERNAME
  {{- if $log.sasl.username }}
  value: {{ $log.sasl.username | quote }}
  {{- else }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.usernameKey }}
  {{- end }}
- name: ODRADEK_SASL_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.passwordKey }}
{{- end }}
{{- with $log.sasl.tokenFunction }}
- name: ODRADEK_OAUTH_CALLBACK
  value: {{ . | quote }}
{{- end }}
- name: ODRADEK_LOG
  value: {{ $log.address | quote }}
- name: ODRADEK_LOG_CONFIG
  value: {{ join " " $files | quote }}
- name: ODRADEK_NAMESPACE
  value: {{ .root.Values.namespace | quote }}
- name: ODRADEK_LOG_FORMAT
  value: {{ .root.Values.messages.format }}
- name: ODRADEK_LOG_LEVEL
  value: {{ .root.Values.messages.level }}
{{- with .root.Values.converter }}
- name: ODRADEK_CONVERTER
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.interceptors }}
- name: ODRADEK_INTERCEPTORS
  value: {{ join " " . | quote }}
{{- end }}
{{- $registry := .root.Values.schemaRegistry }}
{{- if or $registry.url $registry.existingSecret.name }}
- name: ODRADEK_SCHEMA_REGISTRY
  {{- include "odradek.urlRef" (dict "root" .root "suffix" .suffix "given" $registry "key" "schema-registry-url") | nindent 2 }}
{{- end }}
{{- $redis := .root.Values.redis }}
{{- if and .redis (or $redis.url $redis.existingSecret.name) }}
- name: ODRADEK_REDIS
  {{- include "odradek.urlRef" (dict "root" .root "suffix" .suffix "given" $redis "key" "redis-url") | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of (root, suffix). */}}
{{- define "odradek.log.mounts" -}}
{{- $tls := .root.Values.log.tls -}}
- name: log
  mountPath: /etc/odradek/log
  readOnly: true
{{- if include "odradek.log.secretFile" . }}
- name: secret
  mountPath: /etc/odradek/secret
  readOnly: true
{{- end }}
{{- if and $tls.enabled (or $tls.ca.secret $tls.ca.configMap) }}
- name: ca
  mountPath: /etc/odradek/ca
  readOnly: true
{{- end }}
{{- if and $tls.enabled $tls.client.secret }}
- name: client
  mountPath: /etc/odradek/client
  readOnly: true
{{- end }}
{{- end -}}

{{/* Of (root, suffix). Files can be read by the pod's group only. */}}
{{- define "odradek.log.volumes" -}}
{{- $tls := .root.Values.log.tls -}}
- name: log
  configMap:
    name: {{ include "odradek.fullname" .root }}{{ .suffix }}
{{- with include "odradek.log.secretFile" . }}
{{- $file := fromJson . }}
- name: secret
  secret:
    secretName: {{ $file.name }}
    defaultMode: 0440
    items:
      - key: {{ $file.key }}
        path: {{ $file.key }}
{{- end }}
{{- if and $tls.enabled $tls.ca.secret }}
- name: ca
  secret:
    secretName: {{ $tls.ca.secret }}
    defaultMode: 0440
    items:
      - key: {{ $tls.ca.key }}
        path: {{ $tls.ca.key }}
{{- else if and $tls.enabled $tls.ca.configMap }}
- name: ca
  configMap:
    name: {{ $tls.ca.configMap }}
    items:
      - key: {{ $tls.ca.key }}
        path: {{ $tls.ca.key }}
{{- end }}
{{- if and $tls.enabled $tls.client.secret }}
- name: client
  secret:
    secretName: {{ $tls.client.secret }}
    defaultMode: 0440
    items:
      - key: {{ $tls.client.certKey }}
        path: {{ $tls.client.certKey }}
      - key: {{ $tls.client.keyKey }}
        path: {{ $tls.client.keyKey }}
{{- end }}
{{- end -}}
