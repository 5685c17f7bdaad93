//go:build unix && !fuzz

package pubsub

import (
	"os"
	"syscall"
	"testing"
)

func TestWillOfAKilledSubscriber(t *testing.T) {
	port := start(t)
	victim := subscribe(t, "-h", "127.0.0.1", "-p", port, "-V", "mqttv5", "-t", "x", "-i", "victim",
		"--will-topic", "gone", "--will-payload", "victim died", "--will-qos", "1", "--will-retain")
	// A signal ends mosquitto_sub with DISCONNECT 0x04, so that the will is sent.
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := victim.wait(t); status != 0 {
		t.Errorf("status %d", status)
	}
	late := subscribe(t, "-h", "127.0.0.1", "-p", port, "-t", "gone", "-C", "1")
	if status := late.wait(t); status != 0 || printed(late) != "victim died\n" {
		t.Errorf("status %d, printed %q", status, printed(late))
	}
}
