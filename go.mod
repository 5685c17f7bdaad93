module github.com/midgemq/midge

go 1.26

require (
	github.com/alecthomas/kong v1.17.0
	github.com/coder/websocket v1.8.15
	go.uber.org/goleak v1.3.0
)
