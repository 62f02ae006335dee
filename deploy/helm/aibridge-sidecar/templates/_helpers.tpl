{{- define "aibridge.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "aibridge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "aibridge.labels" -}}
{{ include "aibridge.selector" . }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "aibridge.mesh" -}}
{{- and (eq .Values.mode "sidecar") (eq .Values.workload.front "mesh") | ternary "true" "" }}
{{- end }}

{{- /* An egress gateway's pod has no program but istio-proxy. */ -}}
{{- define "aibridge.gateway" -}}
{{- range .Values.workload.containers }}{{ if and (include "aibridge.mesh" $) (eq .name "istio-proxy") }}true{{ end }}{{ end }}
{{- end }}

{{- /* istio-proxy opens the workers' sockets, and ends with its last connection instead of 5 s after it was told to;
probes and Prometheus go by it. */ -}}
{{- define "aibridge.mesh.annotations" -}}
{{- if include "aibridge.mesh" . }}
sidecar.istio.io/userVolumeMount: '[{"name":"aibridge-run","mountPath":"/run/aibridge"}]'
traffic.sidecar.istio.io/excludeInboundPorts: {{ .Values.relay.port | toString | quote }}
proxy.istio.io/config: '{"proxyMetadata":{"EXIT_ON_ZERO_ACTIVE_CONNECTIONS":"true"}}'
{{- end }}
{{- end }}

{{- /* istio-proxy's user where it must open our sockets, which are their owner's alone. */ -}}
{{- define "aibridge.user" -}}
{{- include "aibridge.mesh" . | eq "true" | ternary 1337 65532 }}
{{- end }}

{{- define "aibridge.settings" -}}
{{- range list "listen" "admin" "runtime_dir" }}
{{- if hasKey $.Values.settings . }}{{ fail (printf "settings.%s: is the chart's own; allowed: any other key of docs/settings.md" .) }}{{ end }}
{{- end }}
{{- $provider := dict "name" .Values.provider.name "base_url" .Values.provider.baseUrl "byok" .Values.provider.byok "api_key_file" "/etc/aibridge/provider/api-key" }}
{{- $recorder := dict "url" .Values.store.url "journal" "/var/lib/aibridge/journal.db" }}
{{- if .Values.store.tlsSecret }}{{ $_ := set $recorder "ca_file" "/etc/aibridge/store/ca.crt" }}{{ end }}
{{- if .Values.store.clientCertificate }}
{{- $_ := set $recorder "cert_file" "/etc/aibridge/store/tls.crt" }}
{{- $_ := set $recorder "key_file" "/etc/aibridge/store/tls.key" }}
{{- end }}
{{- $settings := dict "runtime_dir" "/run/aibridge/bridge" "providers" (list $provider) "recorder" $recorder "telemetry" (dict "log_format" "json") }}
{{- if eq .Values.mode "service" }}
{{- $_ := set $settings "listen" (.Values.ipv6 | ternary "[::]:10000" "0.0.0.0:10000") }}
{{- $identity := dig "identity" dict .Values.settings }}
{{- if and (eq (dig "source" "header" $identity) "header") (not (hasKey $identity "trusted_cidrs")) }}
{{- $_ := set $settings "identity" (dict "trust_header" true) }}
{{- end }}
{{- end }}
{{- $settings = mergeOverwrite $settings (deepCopy .Values.settings) }}
{{- include "aibridge.whole" $settings }}
{{- toToml $settings | trim }}
{{- end }}

{{- /* Helm's numbers are floats; here whole ones become whole. */ -}}
{{- define "aibridge.whole" -}}
{{- range $key, $value := . }}
{{- if kindIs "float64" $value }}
{{- if eq $value (floor $value) }}{{ $_ := set $ $key (int64 $value) }}{{ end }}
{{- else if kindIs "map" $value }}{{ include "aibridge.whole" $value }}
{{- else if kindIs "slice" $value }}
{{- range $value }}{{ if kindIs "map" . }}{{ include "aibridge.whole" . }}{{ end }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "aibridge.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: {{ include "aibridge.user" . }}
runAsGroup: {{ include "aibridge.user" . }}
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* Native sidecars, in their order: each is up before the next starts, and gone after it. */ -}}
{{- define "aibridge.sidecars" -}}
{{- if not (include "aibridge.mesh" .) -}}
# The access log goes where the pod's logs go, not into a file that nobody rotates.
- name: prepare
  image: {{ .Values.image }}
  command:
    - /opt/aibridge/bin/python
    - -c
    - |
      import os
      os.makedirs("/run/aibridge/bridge", 0o700, exist_ok=True)
      os.path.lexists("/run/aibridge/bridge/access.log") or os.symlink("/dev/stdout", "/run/aibridge/bridge/access.log")
  securityContext: {{- include "aibridge.restricted" . | nindent 4 }}
  resources: {{- toYaml .Values.relay.resources | nindent 4 }}
  volumeMounts:
    - {name: aibridge-run, mountPath: /run/aibridge}
{{- end }}
- name: aibridge-relay
  image: {{ .Values.image }}
  restartPolicy: Always
  command: [/opt/aibridge/bin/envoy-binary, --config-path, /etc/aibridge/relay.yaml, --log-level, warning, --disable-hot-restart]
  ports:
    - {name: relay, containerPort: {{ .Values.relay.port }}}
  securityContext: {{- include "aibridge.restricted" . | nindent 4 }}
  resources: {{- toYaml .Values.relay.resources | nindent 4 }}
  volumeMounts:
    - {name: aibridge-config, mountPath: /etc/aibridge/relay.yaml, subPath: relay.yaml, readOnly: true}
    - {name: aibridge-run, mountPath: /run/aibridge}
{{- if eq .Values.mode "sidecar" }}
- restartPolicy: Always
  {{- include "aibridge.bridge" . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "aibridge.bridge" -}}
name: aibridge
image: {{ .Values.image }}
args: [{{ include "aibridge.mesh" . | eq "true" | ternary "serve" "up" }}, --config, /etc/aibridge/aibridge.toml]
{{- if eq .Values.mode "service" }}
ports:
  - {name: http, containerPort: 10000}
{{- end }}
env:
  # The root is read-only; SQLite may want room beside the journal.
  - {name: TMPDIR, value: /var/lib/aibridge}
{{- if and (eq .Values.mode "sidecar") (not (hasKey .Values.settings "identity")) }}
  # Who asks is this pod, unless the identity header says more.
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
  - name: POD_SERVICE_ACCOUNT
    valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}
  - name: AIBRIDGE_IDENTITY__DEFAULT_ACTOR
    value: $(POD_NAMESPACE)/$(POD_SERVICE_ACCOUNT)
{{- end }}
{{- with .Values.store.passwordSecret }}
  - name: AIBRIDGE_RECORDER__PASSWORD
    valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.store.passwordKey }}}}
{{- end }}
{{- with .Values.extraEnv }}{{ toYaml . | nindent 2 }}{{ end }}
startupProbe:
  {{- include "aibridge.probe" . | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 120
readinessProbe:
  {{- include "aibridge.probe" . | nindent 2 }}
  periodSeconds: 3
  timeoutSeconds: 2
{{- if eq .Values.mode "service" }}
# Not /healthz, which says no while the pod drains: what ends in here is replaced in here.
livenessProbe:
  tcpSocket: {port: http}
  periodSeconds: 10
  failureThreshold: 6
{{- end }}
{{- if not (include "aibridge.mesh" .) }}
lifecycle:
  preStop:
    exec:
      command: [/opt/aibridge/bin/aibridge-sidecar, drain, --config, /etc/aibridge/aibridge.toml, --timeout, {{ .Values.drainSeconds | toString | quote }}]
{{- end }}
securityContext: {{- include "aibridge.restricted" . | nindent 2 }}
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: aibridge-config, mountPath: /etc/aibridge/aibridge.toml, subPath: aibridge.toml, readOnly: true}
  # The whole folder, so that a changed secret arrives.
  - {name: aibridge-provider, mountPath: /etc/aibridge/provider, readOnly: true}
{{- if .Values.store.tlsSecret }}
  - {name: aibridge-store, mountPath: /etc/aibridge/store, readOnly: true}
{{- end }}
  - {name: aibridge-run, mountPath: /run/aibridge}
  - {name: aibridge-journal, mountPath: /var/lib/aibridge}
{{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}

{{- /* Where the kubelet can ask: it has no certificate to show. In a mesh istiod would have it ask istio-proxy, which may
start only after us; what runs in here istiod leaves alone. */ -}}
{{- define "aibridge.probe" -}}
{{- if include "aibridge.mesh" . -}}
exec:
  command:
    - /opt/aibridge/bin/python
    - -IS
    - -c
    - |
      import socket, sys
      asked = socket.create_connection(("127.0.0.1", {{ .Values.relay.port }}), 2)
      asked.sendall(b"GET /healthz HTTP/1.1\r\nhost: relay\r\n\r\n")
      sys.exit(b" 200 " not in asked.recv(64))
{{- else -}}
httpGet: {path: /healthz, port: {{ and (eq .Values.mode "service") (not (include "aibridge.tls" .)) | ternary "http" .Values.relay.port }}}
{{- end }}
{{- end }}

{{- define "aibridge.tls" -}}
{{- dig "tls" "cert_file" "" .Values.settings }}
{{- end }}

{{- define "aibridge.volumes" -}}
- name: aibridge-config
  configMap: {name: {{ include "aibridge.name" . }}}
- name: aibridge-provider
  secret:
    secretName: {{ .Values.provider.secret }}
    defaultMode: 0440
    items: [{key: {{ .Values.provider.secretKey }}, path: api-key}]
{{- with .Values.store.tlsSecret }}
- name: aibridge-store
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
- name: aibridge-run
  emptyDir: {}
{{- if not (and (eq .Values.mode "service") .Values.journal.persistent) }}
# On the node's disk: it outlives a container, not the pod, which forwards what it has before it ends.
- name: aibridge-journal
  emptyDir: {sizeLimit: {{ .Values.journal.size }}}
{{- end }}
{{- with .Values.extraVolumes }}{{ toYaml . | nindent 0 }}{{ end }}
{{- end }}

{{- define "aibridge.annotations" -}}
# A new configuration is a new pod.
aibridge.dev/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .Values.relay.port | toString | quote }}
prometheus.io/path: /metrics
{{- end }}

{{- define "aibridge.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- /* The drain, then the 20 s in which `up` ends, then some. */}}
terminationGracePeriodSeconds: {{ include "aibridge.grace" . }}
securityContext:
  fsGroup: {{ include "aibridge.user" . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- if eq .Values.mode "service" }}
  runAsNonRoot: true
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- range .Values.topologyKeys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "aibridge.selector" $ | nindent 8 }}
{{- end }}
{{- end }}

{{- define "aibridge.grace" -}}
{{- $limit := dig "limits" "request_timeout" 600 .Values.settings | int }}
{{- if lt (int .Values.drainSeconds) $limit }}
{{- fail (printf "drainSeconds: %d is less than settings.limits.request_timeout (%d); allowed: at least that" (int .Values.drainSeconds) $limit) }}
{{- end }}
{{- add .Values.drainSeconds 30 }}
{{- end }}
