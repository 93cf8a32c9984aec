#!/bin/sh
# Starts nginx. It answers by `return 200`; a large reply is a file, an upload is stored as it came.
# bench-version: PATH="$PATH:/usr/sbin" nginx -v 2>&1 | sed "s/.*: //"
# bench-without: form json multipart: does not look into bodies
# bench-without: workers-compute: runs no code

# An upload's body is read before the request is passed on. The second server stands for the
# application: it gets the count of bytes nginx has read, and none of them.
perl -I"$(dirname "$0")/../apps/lib" -MApplication=large_reply -e 'print large_reply()' >"$2/large"
# They are nginx's variables.
# shellcheck disable=SC2016
case ${BENCH_HANDLER:-hello} in
    browser) root='return 200 "$http_upgrade_insecure_requests $arg_item\n";' ;;
    large) root='try_files /large =404;' ;;
    *) root='return 200 "Hello world\n";' ;;
esac
cat >"$2/nginx.conf" <<CONFIGURATION
daemon off;
worker_processes ${BENCH_WORKERS:-1};
pid $2/nginx.pid;
error_log stderr;
$([ "$(id -u)" -ne 0 ] || echo 'user root;')
events { worker_connections 16384; }
http {
    access_log off;
    client_body_temp_path $2/body;
    client_max_body_size 0;
    default_type text/plain;
    fastcgi_temp_path $2/fastcgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    open_file_cache max=10;
    proxy_temp_path $2/proxy;
    scgi_temp_path $2/scgi;
    sendfile on;
    tcp_nopush on;
    uwsgi_temp_path $2/uwsgi;
    server {
        listen 127.0.0.1:$1;
        root $2;
        location / { $root }
        location /upload {
            client_body_in_file_only clean;
            client_body_buffer_size 1m;
            proxy_pass http://unix:$2/application.socket:;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Request-Length \$request_length;
        }
    }
    server {
        listen unix:$2/application.socket;
        location / { return 200 "\$http_x_request_length\n"; }
    }
}
CONFIGURATION
exec env PATH="$PATH:/usr/sbin" nginx -p "$2" -c "$2/nginx.conf"
