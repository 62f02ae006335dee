{{- /* An Envoy that shows what is on loopback, or behind the workers' sockets, and nothing else. */ -}}
{{- define "aibridge.relay" -}}
static_resources:
  listeners:
    - name: relay
      address: {socket_address: {address: {{ .Values.ipv6 | ternary "\"::\", ipv4_compat: true" "0.0.0.0" }}, port_value: {{ .Values.relay.port }}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: relay
                request_timeout: 10s
                stream_idle_timeout: 10s
                http_filters:
                  {{- if include "aibridge.watched" . }}
                  - name: envoy.filters.http.health_check
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
                      pass_through_mode: false
                      cluster_min_healthy_percentages: {workers: {value: 1}{{ if not (include "aibridge.mesh" .) }}, bridge: {value: 1}{{ end }}}
                      headers: [{name: ":path", string_match: {exact: /healthz}}]
                  {{- end }}
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
                route_config:
                  virtual_hosts:
                    - name: relay
                      domains: ["*"]
                      routes:
                        - match: {path: /metrics, headers: [{name: ":method", string_match: {exact: GET}}]}
                          route: {cluster: metrics, timeout: 10s}
                        {{- if not (include "aibridge.watched" .) }}
                        - match: {path: /healthz, headers: [{name: ":method", string_match: {exact: GET}}]}
                          route: {cluster: bridge, timeout: 2s}
                        {{- end }}
                        - match: {prefix: /}
                          direct_response: {status: 404}
  clusters:
    - name: metrics
      connect_timeout: 1s
      load_assignment: {{- include "aibridge.relay.at" (list "metrics" (dict "socket_address" (dict "address" "127.0.0.1" "port_value" 9464))) | nindent 8 }}
    {{- if include "aibridge.watched" . }}
    - name: workers
      connect_timeout: 1s
      load_assignment:
        cluster_name: workers
        endpoints:
          - lb_endpoints:
              {{- range until (dig "workers" 1 .Values.settings | int) }}
              - endpoint: {address: {pipe: {path: /run/aibridge/bridge/worker-{{ . }}.sock}}}
              {{- end }}
      health_checks:
        - {timeout: 2s, interval: 2s, no_traffic_interval: 2s, unhealthy_interval: 0.5s, unhealthy_threshold: 2, healthy_threshold: 1, grpc_health_check: {}}
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
    {{- end }}
    {{- if not (include "aibridge.mesh" .) }}
    - name: bridge
      connect_timeout: 1s
      load_assignment: {{- include "aibridge.relay.at" (list "bridge" (dict "socket_address" (include "aibridge.relay.bridge" . | fromYaml))) | nindent 8 }}
      {{- if include "aibridge.tls" . }}
      health_checks:
        - {timeout: 2s, interval: 2s, no_traffic_interval: 2s, unhealthy_interval: 0.5s, unhealthy_threshold: 2, healthy_threshold: 1, http_health_check: {path: /ready}}
      {{- end }}
    {{- end }}
{{- end }}

{{- /* Where the bridge's own /healthz is out of reach, for want of an Envoy or of a certificate: what it would say. */ -}}
{{- define "aibridge.watched" -}}
{{- or (include "aibridge.mesh" .) (include "aibridge.tls" .) }}
{{- end }}

{{- /* Envoy's admin interface is at the loopback of version 4, whatever its clients' one is. */ -}}
{{- define "aibridge.relay.bridge" -}}
{{- if include "aibridge.tls" . -}}
{address: 127.0.0.1, port_value: 9901}
{{- else -}}
{address: {{ and .Values.ipv6 (eq .Values.mode "service") | ternary "\"::1\"" "127.0.0.1" }}, port_value: 10000}
{{- end }}
{{- end }}

{{- define "aibridge.relay.at" -}}
cluster_name: {{ index . 0 }}
endpoints: [{lb_endpoints: [{endpoint: {address: {{ index . 1 | toJson }}}}]}]
{{- end }}
