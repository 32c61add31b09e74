package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/raw"
	"github.com/tributary-es/tributary/bench/internal/servers"
	"github.com/tributary-es/tributary/jetstream"
)

// Store is a JetStream stream that one job has for itself, under a name and a
// prefix that nothing else has.
type Store struct {
	Sizes
	Backend *jetstream.Backend
	Raw     *raw.Client

	server  *servers.Server
	nc      *nats.Conn
	cfg     jetstream.Config
	opened  []*nats.Conn // more connections
	created bool
}

// OpenStore creates a JetStream stream on the server. The caller has to call
// [Store.Close].
func OpenStore(ctx context.Context, server *servers.Server, sizes Sizes) (*Store, error) {
	id := rand.Text()
	s := &Store{
		Sizes:  sizes,
		server: server,
		cfg: jetstream.Config{
			Stream:   "BENCH_" + id,
			Prefix:   "bench-" + strings.ToLower(id),
			Replicas: server.Replicas,
			Timeout:  time.Minute,
		},
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	var err error
	if s.nc, err = s.server.Connect(); err != nil {
		return err
	}
	s.created = true // perhaps, when what follows fails
	if s.Backend, err = jetstream.Open(ctx, s.nc, s.cfg); err != nil {
		return err
	}
	s.Raw, err = raw.NewClient(ctx, s.nc, s.cfg.Stream)
	return err
}

// Close deletes the JetStream stream.
func (s *Store) Close(ctx context.Context) error {
	if s.nc == nil {
		return nil
	}
	defer func() {
		for _, nc := range append(s.opened, s.nc) {
			nc.Close()
		}
	}()
	if !s.created {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	js, err := natsjs.New(s.nc)
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, s.cfg.Stream); err != nil && !errors.Is(err, natsjs.ErrStreamNotFound) {
		return fmt.Errorf("deleting the JetStream stream %s: %w", s.cfg.Stream, err)
	}
	return nil
}

// fresh opens the store as a process that has just begun does, which knows no
// heads. headCacheSize 0: the default.
func (s *Store) fresh(ctx context.Context, headCacheSize int) (*jetstream.Backend, error) {
	cfg := s.cfg
	cfg.HeadCacheSize = headCacheSize
	return jetstream.Open(ctx, s.nc, cfg)
}

// other opens the store as another process has it, on a connection of its own.
func (s *Store) other(ctx context.Context) (*jetstream.Backend, error) {
	nc, err := s.server.Connect()
	if err != nil {
		return nil, err
	}
	s.opened = append(s.opened, nc)
	return jetstream.Open(ctx, nc, s.cfg)
}

// subject is that of an event stream, or of what is published beside them.
func (s *Store) subject(name string) string { return s.cfg.Prefix + "." + name }

// append appends n events to an event stream, whatever its version.
func (s *Store) append(ctx context.Context, name string, n int) (backend.AppendResult, error) {
	return backend.Append(ctx, s.Backend, name, backend.AnyVersion(), events(n), uuid.Nil)
}

// eventType is the type of all events.
const eventType = "MoneyDeposited"

// DataSize is how many bytes of data an event has.
const DataSize = 200

// events returns n events.
func events(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventType: eventType, Data: bytes.Repeat([]byte{'x'}, DataSize)}
	}
	return events
}

// message returns the message that an append of n events is, with a full chain,
// for the subject of another name.
func (s *Store) message(ctx context.Context, name string, n int) (*nats.Msg, error) {
	template := fmt.Sprintf("template-%d", n)
	for range fullChain {
		if _, err := s.append(ctx, template, n); err != nil {
			return nil, err
		}
	}
	msg, _, err := s.Raw.Last(ctx, s.subject(template))
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: s.subject(name), Header: raw.Own(msg.Header), Data: msg.Data}, nil
}

// fullChain is the number of commits after which the next one names as many
// before it as it can (docs/FORMAT.md).
const fullChain = 16
