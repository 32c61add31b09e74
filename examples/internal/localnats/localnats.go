// Package localnats gives the examples a NATS server to talk to: the one that
// the environment variable NATS_URL names, or else one that runs inside the
// program and keeps its data in a directory.
//
// The embedded server listens on no port; the program talks to it in memory. That
// of [Serve] listens, on the loopback interface, for other processes that know the
// password.
// It syncs every message to disk before it acknowledges it, so what a program
// was told is stored is still there after kill -9 and after a power failure.
// That makes an append some ten times slower than the server's default, which
// syncs every two minutes.
package localnats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
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
	if address := os.Getenv(URLVariable); address != "" {
		nc, err := nats.Connect(address, nats.Name(filepath.Base(os.Args[0])))
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

// Serve returns the address of the server that NATS_URL names, or else of an
// embedded one that keeps its data in dir, for other processes, too: any program
// of which NATS_URL is that address talks to it. Call stop when done, which ends an
// embedded server.
//
// Of the directory [Connect] says more.
func Serve(ctx context.Context, dir string) (address string, stop func(), err error) {
	if address := os.Getenv(URLVariable); address != "" {
		return address, func() {}, nil
	}
	password := rand.Text() // other users of this machine can reach the port, too
	srv, stop, err := start(ctx, dir, func(o *server.Options) {
		o.Host, o.Port = "127.0.0.1", server.RANDOM_PORT
		o.Username, o.Password = user, password
	})
	if err != nil {
		return "", nil, err
	}
	at := url.URL{Scheme: "nats", User: url.UserPassword(user, password), Host: srv.Addr().String()}
	return at.String(), stop, nil
}

// user is what the password of an embedded server that listens belongs to.
const user = "examples"

func embedded(ctx context.Context, dir string) (nc *nats.Conn, stop func(), err error) {
	srv, shutdown, err := start(ctx, dir, func(o *server.Options) { o.DontListen = true })
	if err != nil {
		return nil, nil, err
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

// start starts a server on a directory that no other process has.
func start(ctx context.Context, dir string, listen func(*server.Options)) (srv *server.Server, stop func(), err error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, nil, err
	}
	if srv, err = run(ctx, dir, listen); err != nil {
		unlock()
		return nil, nil, err
	}
	return srv, func() {
		srv.Shutdown()
		srv.WaitForShutdown()
		unlock() // last, for the next one to find the files closed
	}, nil
}

func run(ctx context.Context, dir string, listen func(*server.Options)) (*server.Server, error) {
	options := &server.Options{
		ServerName: "embedded",
		JetStream:  true,
		StoreDir:   dir,
		SyncAlways: true,
		NoSigs:     true, // Ctrl-C is the program's to handle
	}
	listen(options)
	srv, err := server.NewServer(options)
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
