#!/bin/sh
# Starts nginx with one worker; the request body is always stored in a file, as it came.
# bench-version: PATH="$PATH:/usr/sbin" nginx -v 2>&1

# The body is read before the request is passed on. The second server stands for the application:
# it gets the count of bytes nginx has read, and none of them.
cat >"$2/nginx.conf" <<CONFIGURATION
daemon off;
worker_processes 1;
pid $2/nginx.pid;
error_log stderr;
$([ "$(id -u)" -ne 0 ] || echo 'user root;')
events { }
http {
    access_log off;
    client_max_body_size 0;
    client_body_temp_path $2/body;
    proxy_temp_path $2/proxy;
    fastcgi_temp_path $2/fastcgi;
    uwsgi_temp_path $2/uwsgi;
    scgi_temp_path $2/scgi;
    server {
        listen 127.0.0.1:$1;
        location / {
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
