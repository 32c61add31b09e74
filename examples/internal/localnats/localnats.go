// Package localnats gives the examples a NATS server to talk to: the one that
// the environment variable NATS_URL names, or else one that runs inside the
// program and keeps its data in a directory.
//
// The embedded server listens on no port; the program talks to it in memory.
// It syncs every message to disk before it acknowledges it, so what a program
// was told is stored is still there after kill -9 and after a power failure.
// That makes an append some ten times slower than the server's default, which
// syncs every two minutes.
package localnats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// URLVariable is the environment variable that names the server to use instead
// of an embedded one.
const URLVariable = "NATS_URL"

// Connect connects to the server that NATS_URL names, or else to an embedded one
// that keeps its data in dir. Call stop when done: it closes the connection and
// ends the embedded server.
//
// One process at a time can have a directory; the error for a second one wraps
// [ErrInUse].
func Connect(ctx context.Context, dir string) (nc *nats.Conn, stop func(), err error) {
	if url := os.Getenv(URLVariable); url != "" {
		nc, err := nats.Connect(url, nats.Name(filepath.Base(os.Args[0])))
		if err != nil {
			return nil, nil, fmt.Errorf("connecting to the NATS server that %s names: %w", URLVariable, err)
		}
		return nc, nc.Close, nil
	}
	return embedded(ctx, dir)
}

// Where tells in plain words where [Connect] finds, or keeps, its data.
func Where(dir string) string {
	if os.Getenv(URLVariable) != "" {
		return "the NATS server that " + URLVariable + " names"
	}
	return dir
}

func embedded(ctx context.Context, dir string) (nc *nats.Conn, stop func(), err error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, nil, err
	}
	srv, err := start(ctx, dir)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	shutdown := func() {
		srv.Shutdown()
		srv.WaitForShutdown()
		unlock() // last, for the next one to find the files closed
	}
	nc, err = nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		shutdown()
		return nil, nil, fmt.Errorf("connecting to the embedded server: %w", err)
	}
	return nc, func() {
		nc.Close()
		shutdown()
	}, nil
}

func start(ctx context.Context, dir string) (*server.Server, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: "embedded",
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: true,
		DontListen: true,
		NoSigs:     true, // Ctrl-C is the program's to handle
	})
	if err != nil {
		return nil, fmt.Errorf("making the embedded server: %w", err)
	}
	var log failureLog
	srv.SetLogger(&log, false, false)

	// Start returns when the streams in the directory are recovered, which takes
	// a while for large ones, or early when it fails, telling only the log why.
	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		srv.Shutdown()
		<-started
		return nil, ctx.Err()
	}
	err = log.failure()
	if err == nil && !srv.ReadyForConnections(5*time.Second) {
		err = errors.New("it does not get ready")
	}
	if err != nil {
		srv.Shutdown()
		return nil, fmt.Errorf("starting the embedded server in %s: %w", dir, err)
	}
	return srv, nil
}
