// Command browser serves a page that shows the producers' numbers live, by mqtt.js over WebSocket. mqtt.js is not part of this
// repository; get it with
//
//	npm install mqtt && cp node_modules/mqtt/dist/mqtt.min.js .
//
// and say where it is with -mqttjs. The broker needs a listener with "protocol websockets". Requests are served by net/http, each on
// a goroutine of its own; they share nothing that changes.
package main

import (
	"embed"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

//go:embed index.html app.js
var page embed.FS

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "where to serve the page")
	mqttjs := flag.String("mqttjs", "mqtt.min.js", "the file of mqtt.js")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", l.Addr())
	s := &http.Server{Handler: handler(*mqttjs), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(s.Serve(l))
}

func handler(mqttjs string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(page))
	mux.HandleFunc("/mqtt.min.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, mqttjs) })
	return mux
}
