{{/* What the schema cannot say. Each message names the value and the next step. */}}

{{- define "odradek.checks" -}}
{{- $log := .Values.log -}}
{{- if not $log.address -}}
{{- fail "log.address is empty: say where Kafka is, as in --set log.address=kafka://my-cluster-kafka-bootstrap:9092" -}}
{{- end -}}
{{- range $key, $_ := $log.config -}}
{{- if regexMatch "(password|secret|passphrase|^ssl\\.key\\.pem$|^sasl\\.oauthbearer\\.config$)" $key -}}
{{- fail (printf "log.config has %q, which is a secret and would stand in a ConfigMap: move it to log.secretConfig or into log.existingSecret" $key) -}}
{{- end -}}
{{- end -}}
{{- if and $log.existingSecret.name $log.secretConfig -}}
{{- fail "log.existingSecret.name and log.secretConfig are both given: put the settings of the second into the Secret of the first" -}}
{{- end -}}
{{- if and $log.existingSecret.name $log.sasl.existingSecret.name -}}
{{- fail "log.existingSecret.name and log.sasl.existingSecret.name are both given: the first is a whole file of settings, the second only has a password; keep one" -}}
{{- end -}}
{{- if and $log.sasl.tokenFunction (ne $log.sasl.mechanism "OAUTHBEARER") -}}
{{- fail (printf "log.sasl.tokenFunction is given and log.sasl.mechanism is %q: make it OAUTHBEARER" $log.sasl.mechanism) -}}
{{- end -}}
{{- $sasl := $log.sasl -}}
{{- $named := or $sasl.username $sasl.password $sasl.existingSecret.name -}}
{{- if and $named (not $sasl.mechanism) -}}
{{- fail "log.sasl has a user or a Secret, and no mechanism: nobody would log in; say log.sasl.mechanism" -}}
{{- end -}}
{{- if and $named (eq $sasl.mechanism "OAUTHBEARER") -}}
{{- fail "log.sasl has a user or a Secret, and its mechanism is OAUTHBEARER, which has tokens: leave them away, and see log.sasl.tokenFunction and log.secretConfig" -}}
{{- end -}}
{{- $elsewhere := or $log.existingSecret.name (hasKey $log.secretConfig "sasl.password") -}}
{{- if and (has $sasl.mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512")) (not $elsewhere) (not $sasl.existingSecret.name) (not (and $sasl.username $sasl.password)) -}}
{{- fail (printf "log.sasl.mechanism is %s, and log.sasl does not name both a user and a password: give log.sasl.existingSecret.name" $sasl.mechanism) -}}
{{- end -}}
{{- $lines := dict "config" $log.config "secretConfig" $log.secretConfig "sasl" (dict "username" $sasl.username "password" (trimSuffix "\n" $sasl.password)) -}}
{{- range $part, $settings := $lines -}}
{{- range $key, $value := $settings -}}
{{- if regexMatch "(^\\s|\\s$|[\\r\\n])" (toString $value) -}}
{{- fail (printf "log.%s.%s has space around it, or a line break in it, which a file of settings cannot hold: certificates and keys are files, see log.tls; a password may stand in a Secret of yours" $part $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $log.tls.ca.secret $log.tls.ca.configMap -}}
{{- fail "log.tls.ca.secret and log.tls.ca.configMap are both given: keep one" -}}
{{- end -}}
{{- if and (not $log.tls.enabled) (or $log.tls.ca.secret $log.tls.ca.configMap $log.tls.client.secret) -}}
{{- fail "log.tls.ca or log.tls.client is given and log.tls.enabled is false: set it to true" -}}
{{- end -}}
{{- $orchestrators := .Values.orchestrators -}}
{{- if and (eq $orchestrators.store.type "persistentVolumeClaim") (ne $orchestrators.kind "StatefulSet") -}}
{{- fail "orchestrators.store.type is persistentVolumeClaim and orchestrators.kind is Deployment: pods would share one volume; use StatefulSet, or emptyDir" -}}
{{- end -}}
{{- if and $orchestrators.store.copiesInRedis (not (or .Values.redis.url .Values.redis.existingSecret.name)) -}}
{{- fail "orchestrators.store.copiesInRedis is true and no Redis is named: give redis.url or redis.existingSecret.name" -}}
{{- end -}}
{{- if and (ne $orchestrators.autoscaling.type "none") (lt (int $orchestrators.autoscaling.minReplicas) 1) -}}
{{- fail "orchestrators.autoscaling.minReplicas is 0: timers need an owner, so keep at least 1" -}}
{{- end -}}
{{- include "odradek.checks.scaling" (dict "path" "orchestrators" "role" $orchestrators "root" .) -}}
{{- include "odradek.checks.grace" (dict "path" "orchestrators" "role" $orchestrators "needs" "settings.handOverTimeoutSeconds" "seconds" $orchestrators.settings.handOverTimeoutSeconds) -}}
{{- include "odradek.checks.volumes" . -}}
{{- if and (ne .Values.topics.job "none") (gt (int $orchestrators.autoscaling.maxReplicas) (int .Values.topics.partitions)) (ne $orchestrators.autoscaling.type "none") -}}
{{- fail (printf "orchestrators.autoscaling.maxReplicas is %d and topics.partitions is %d: the rest would stand idle" (int $orchestrators.autoscaling.maxReplicas) (int .Values.topics.partitions)) -}}
{{- end -}}
{{- $root := . -}}
{{- $fullname := include "odradek.fullname" . -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "the release's objects would be named %q, and a Service begins with a letter and has only small letters, digits and hyphens: say fullnameOverride" $fullname) -}}
{{- end -}}
{{- range $name, $_ := .Values.workers -}}
{{- $pool := include "odradek.pool" (dict "root" $root "pool" $name) | fromYaml -}}
{{- if not $pool.modules -}}
{{- fail (printf "workers.%s.modules is empty: name the modules that hold its activities, as in [shop.payments]" $name) -}}
{{- end -}}
{{- if gt (len (printf "%s-workers-%s" $fullname $name)) 63 -}}
{{- fail (printf "workers.%s: the name is too long beside the release's name %q; both together may have 54 characters" $name $fullname) -}}
{{- end -}}
{{- include "odradek.checks.scaling" (dict "path" (printf "workers.%s" $name) "role" $pool "root" $root) -}}
{{- include "odradek.checks.grace" (dict "path" (printf "workers.%s" $name) "role" $pool "needs" "gracefulShutdownSeconds" "seconds" $pool.gracefulShutdownSeconds) -}}
{{- if and (eq $pool.autoscaling.type "hpa") (lt (int $pool.autoscaling.minReplicas) 1) -}}
{{- fail (printf "workers.%s.autoscaling.minReplicas is 0, and only keda can scale to 0" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.replayGate.enabled (not (.Values.replayGate.modules | default $orchestrators.modules)) -}}
{{- fail "replayGate.enabled is true and neither replayGate.modules nor orchestrators.modules names a module" -}}
{{- end -}}
{{- end -}}

{{/* Of (path, role, root). */}}
{{- define "odradek.checks.scaling" -}}
{{- $scaling := .role.autoscaling -}}
{{- if and (ne $scaling.type "none") (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d and maxReplicas %d: the first must not be more" .path (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaling.type "hpa") (not (dig "requests" "cpu" "" .role.resources)) -}}
{{- fail (printf "%s.autoscaling.type is hpa and %s.resources.requests.cpu is not given: it is a share of that" .path .path) -}}
{{- end -}}
{{- $log := .root.Values.log -}}
{{- if and (eq $scaling.type "keda") (not .root.Values.keda.authentication) (hasKey $log.secretConfig "sasl.password") -}}
{{- fail (printf "%s.autoscaling.type is keda, which does not see log.secretConfig: give user and password by log.sasl, or name a TriggerAuthentication in keda.authentication" .path) -}}
{{- end -}}
{{- if and (eq $scaling.type "keda") (not .root.Values.keda.authentication) (or $log.existingSecret.name (eq $log.sasl.mechanism "OAUTHBEARER")) -}}
{{- fail (printf "%s.autoscaling.type is keda, which cannot read a file of librdkafka settings nor odradek's token: make a TriggerAuthentication and name it in keda.authentication" .path) -}}
{{- end -}}
{{- end -}}

{{/* Of (path, role, needs, seconds). */}}
{{- define "odradek.checks.grace" -}}
{{- with .role.terminationGracePeriodSeconds -}}
{{- if lt (float64 .) (float64 $.seconds) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d and %s.%s is %v: pods would be killed before they are done; leave the first away, or make it 25 more" $.path (int .) $.path $.needs $.seconds) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the volumes of orchestrators are like, as one text. */}}
{{- define "odradek.volumes" -}}
{{- $store := .Values.orchestrators.store -}}
{{- if eq $store.type "persistentVolumeClaim" -}}
{{ $store.size }}, {{ $store.storageClass | default "default class" }}, {{ join " " $store.accessModes }}
{{- else -}}
none
{{- end -}}
{{- end -}}

{{/* Kubernetes does not let the volumes of a StatefulSet change. Without a cluster ("helm template") nothing is found. */}}
{{- define "odradek.checks.volumes" -}}
{{- $name := include "odradek.orchestrators" . -}}
{{- $now := include "odradek.volumes" . -}}
{{- $found := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $was := dig "metadata" "annotations" "odradek/volumes" $now (default dict $found) -}}
{{- if and (eq .Values.orchestrators.kind "StatefulSet") (ne $was $now) -}}
{{- fail (printf "orchestrators.store asks for volumes like this: %s; and the StatefulSet %s has: %s, which cannot be changed in place. Do: kubectl --namespace %s delete statefulset %s --cascade=orphan; then upgrade again. Its pods go on meanwhile, and are replaced one by one" $now $name $was .Release.Namespace $name) -}}
{{- end -}}
{{- end -}}
