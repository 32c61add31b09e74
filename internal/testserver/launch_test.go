package testserver

import (
	"errors"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func TestLaunchTellsATakenPort(t *testing.T) {
	for _, taken := range []string{"client", "route"} {
		t.Run(taken, func(t *testing.T) {
			l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			port := l.Addr().(*net.TCPAddr).Port
			// A clustered server refuses to start without a route to anyone.
			nobody, err := freePorts(1)
			if err != nil {
				t.Fatal(err)
			}
			route := &url.URL{Scheme: "nats-route", Host: net.JoinHostPort(host, strconv.Itoa(nobody[0]))}
			s := &Server{
				name:    "n1",
				dir:     t.TempDir(),
				port:    server.RANDOM_PORT,
				cluster: &membership{cluster: "C", port: server.RANDOM_PORT, routes: []*url.URL{route}},
			}
			if taken == "client" {
				s.port = port
			} else {
				s.cluster.port = port
			}

			base := runtime.NumGoroutine()
			if err := s.start(); !errors.Is(err, errPortTaken) {
				t.Errorf("start on port %d: %v, want %v", port, err, errPortTaken)
			}
			if s.Running() {
				t.Error("running after a failed start")
			}
			gone := func() error {
				if n := runtime.NumGoroutine(); n > base {
					return errors.New(strconv.Itoa(n-base) + " goroutines are left")
				}
				return nil
			}
			if err := eventually(10*time.Second, readyInterval, gone); err != nil {
				t.Error(err)
			}
		})
	}
}
