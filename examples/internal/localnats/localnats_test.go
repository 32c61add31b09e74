package localnats

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/internal/testserver"
)

func TestADirectoryIsOneConnectionsAtATime(t *testing.T) {
	t.Setenv(URLVariable, "")
	dir := filepath.Join(t.TempDir(), "made", "here")
	for range 2 {
		nc, stop, err := Connect(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
		if _, _, err := Connect(t.Context(), dir); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "(process ") {
			t.Errorf("a second one got %v, want ErrInUse with the process", err)
		}
		stop()
	}
}

func TestTheServerThatTheEnvironmentNames(t *testing.T) {
	srv := testserver.Single(t)
	t.Setenv(URLVariable, srv.URL())
	for range 2 { // any number at a time
		nc, stop, err := Connect(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if got := nc.ConnectedUrl(); got != srv.URL() {
			t.Errorf("connected to %s, want %s", got, srv.URL())
		}
	}
	srv.Stop()
	if _, _, err := Connect(t.Context(), ""); err == nil || !strings.Contains(err.Error(), URLVariable) {
		t.Errorf("a server that is down: got %v", err)
	}
}

func TestAServerForOtherProcesses(t *testing.T) {
	t.Setenv(URLVariable, "")
	dir := t.TempDir()
	address, stop, err := Serve(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, _, err := Connect(t.Context(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("another server got %v, want ErrInUse", err)
	}
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if host := at.Hostname(); host != "127.0.0.1" {
		t.Errorf("it listens on %s", host)
	}
	at.User = nil
	if nc, err := nats.Connect(at.String()); !errors.Is(err, nats.ErrAuthorization) {
		nc.Close()
		t.Errorf("without the password: got %v, want ErrAuthorization", err)
	}
	t.Setenv(URLVariable, address)
	for range 2 {
		nc, stop, err := Connect(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if err := nc.Flush(); err != nil {
			t.Error(err)
		}
	}
	if again, _, err := Serve(t.Context(), dir); again != address || err != nil {
		t.Errorf("where the address is known: got %q and %v", again, err)
	}
}

func TestFailuresSayWhy(t *testing.T) {
	t.Setenv(URLVariable, "")

	t.Run("a file where the directory should be", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Connect(t.Context(), file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("a file where the server's directory should be", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := Connect(t.Context(), dir)
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "directory") {
			t.Errorf("got %v", err)
		}
		t.Log(err)
	})

	t.Run("a context that has ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		dir := t.TempDir()
		if nc, stop, err := Connect(ctx, dir); err == nil {
			// The server may have started first, which is fine too.
			nc.Close()
			stop()
		}
		_, stop, err := Connect(t.Context(), dir)
		if err != nil {
			t.Fatalf("the directory was not given back: %v", err)
		}
		stop()
	})
}
