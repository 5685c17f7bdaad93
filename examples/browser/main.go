// Browser serves a page that follows the random numbers of the producer over WebSocket and can publish:
//
//	npm install --prefix /tmp/page mqtt
//	go run ./examples/browser -mqttjs /tmp/page/node_modules/mqtt/dist/mqtt.min.js
//
// The broker needs a listener with "protocol websockets". The page, index.html, is static: it works on any web server that has
// mqtt.min.js in the same folder. "?broker=ws://host:port/mqtt" tells it where the broker is.
package main

import (
	_ "embed"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

//go:embed index.html
var page []byte

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address of the web server")
	library := flag.String("mqttjs", "node_modules/mqtt/dist/mqtt.min.js", "the library mqtt.js from npm")
	flag.Parse()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if _, err := w.Write(page); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /mqtt.min.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, *library) })

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", l.Addr())
	log.Fatal((&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}).Serve(l))
}
