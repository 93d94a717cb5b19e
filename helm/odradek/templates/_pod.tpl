{{/*
The template of a pod. Of
  root, component, pool          which role it is
  pod                            the role's own part of what "pod" in values.yaml says
  image, resources, account      of the role
  args                           of the odradek command
  serves                         whether it has a health port, and probes
  suffix                         which ConfigMap and Secret: "" the release's, "-hooks" those that exist before it
  redis, store                   what it is given; store as JSON, for orchestrators
  grace                          seconds
  restart                        the policy
  name, hook                     where the pod stands by itself: its name, and annotations as YAML
*/}}
{{- define "odradek.podTemplate" -}}
{{- $root := .root -}}
{{- $pod := mergeOverwrite (deepCopy $root.Values.pod) (default dict .pod) -}}
{{- $suffix := dict "root" $root "suffix" .suffix "redis" .redis -}}
{{- $known := list "ODRADEK_HEALTH_PORT" "ODRADEK_STORE" -}}
{{- range include "odradek.log.env" $suffix | fromYamlArray -}}{{- $known = append $known .name -}}{{- end -}}
{{- range $name, $_ := $pod.env -}}
{{- if has $name $known -}}
{{- fail (printf "%s: pod.env has %q, which the chart sets from other values: say it there, and leave it away here" $.component $name) -}}
{{- end -}}
{{- end -}}
metadata:
  {{- with .name }}
  name: {{ . }}
  {{- end }}
  labels:
    {{- include "odradek.podLabels" . | nindent 4 }}
    {{- with $pod.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- with .hook }}
    {{- . | nindent 4 }}
    {{- end }}
    checksum/config: {{ include "odradek.log.settings" $root | sha256sum }}
    checksum/secret: {{ include "odradek.secretData" $root | sha256sum }}
    {{- with $pod.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .account }}
  automountServiceAccountToken: false
  # A Service named like one of odradek's variables would set it.
  enableServiceLinks: false
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- with $pod.userId }}
    runAsUser: {{ int64 . }}
    runAsGroup: {{ int64 . }}
    fsGroup: {{ int64 . }}
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  terminationGracePeriodSeconds: {{ int64 .grace }}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- if .name }}
  activeDeadlineSeconds: {{ int64 $root.Values.jobs.deadlineSeconds }}
  {{- end }}
  {{- with $pod.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $pod.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "odradek.image" . }}
      imagePullPolicy: {{ (include "odradek.imageOf" . | fromYaml).pullPolicy }}
      command: [odradek]
      args:
        {{- range .args }}
        - {{ include "odradek.text" . | quote }}
        {{- end }}
      env:
        {{- include "odradek.log.env" $suffix | trim | nindent 8 }}
        - name: ODRADEK_HEALTH_PORT
          value: {{ $root.Values.health.port | quote }}
        {{- if .store }}
        - name: ODRADEK_STORE
          value: {{ ternary "" "/var/lib/odradek" (eq .store.type "memory") | quote }}
        {{- end }}
        {{- if not (hasKey $pod.env "HOME") }}
        - name: HOME
          value: /tmp
        {{- end }}
        {{- range $name, $value := $pod.env }}
        - name: {{ $name | quote }}
          {{- if kindIs "map" $value }}
          {{- toYaml $value | nindent 10 }}
          {{- else }}
          value: {{ include "odradek.text" $value | quote }}
          {{- end }}
        {{- end }}
      {{- with $pod.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if .serves }}
      ports:
        - name: health
          containerPort: {{ $root.Values.health.port }}
      startupProbe:
        httpGet:
          path: /healthz
          port: health
        periodSeconds: 2
        timeoutSeconds: 3
        failureThreshold: 60
      livenessProbe:
        httpGet:
          path: /healthz
          port: health
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet:
          path: /readyz
          port: health
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        {{- include "odradek.log.mounts" $suffix | nindent 8 }}
        - name: tmp
          mountPath: /tmp
        {{- if and .store (ne .store.type "memory") }}
        - name: store
          mountPath: /var/lib/odradek
        {{- end }}
        {{- with $pod.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "odradek.log.volumes" $suffix | nindent 4 }}
    - name: tmp
      emptyDir: {}
    {{- if and .store (eq (default dict .store).type "emptyDir") }}
    - name: store
      emptyDir:
        sizeLimit: {{ .store.size }}
    {{- end }}
    {{- with $pod.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if and .serves $pod.topologySpread }}
  topologySpreadConstraints:
    {{- $selector := include "odradek.selector" . }}
    {{- range $pod.topologySpread }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels:
          {{- $selector | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with $pod.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $pod.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
