package jetstream

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
)

// Defaults of [Config].
const (
	DefaultStream         = "EVENTS"
	DefaultPrefix         = "events"
	DefaultHeadCacheSize  = 16384
	DefaultTimeout        = 10 * time.Second
	DefaultRequestTimeout = 2 * time.Second
)

// Config configures a [Backend]. The zero value works: a single-replica file
// store named EVENTS on the subjects events.>
//
// What is marked "at creation" is used when [Open] creates the JetStream stream,
// and is not applied to one that exists.
type Config struct {
	// Stream is the name of the JetStream stream that holds the event streams.
	// Empty: [DefaultStream].
	Stream string

	// Prefix begins the subject of every event stream: account-42 is stored on
	// <Prefix>.account-42. Empty: [DefaultPrefix]. What can be a prefix is told by
	// tributary.Subjects.
	Prefix string

	// Domain is the JetStream domain to use, for a store beyond a leaf node.
	// Empty: the connection's own.
	Domain string

	// Replicas is how many servers keep a copy, 1 to 5; at creation, which fails
	// where there are fewer servers. An existing JetStream stream with fewer
	// replicas is refused. 0: one at creation, any number otherwise.
	Replicas int

	// Storage is where the server keeps the events; at creation. An existing
	// JetStream stream that differs is refused. 0: [FileStorage].
	Storage Storage

	// Compression has the server compress what it writes to disk (S2); at
	// creation.
	Compression bool

	// MaxBytes bounds the store's size in bytes, counted as the server does, at
	// creation: a full store refuses appends with backend.ErrStoreFull, it never
	// drops events. It refuses deletion and truncation too, which write before
	// they erase: raise max_bytes on the server first. 0: no bound but the
	// server's.
	MaxBytes int64

	// PlacementTags are tags that a server must have to be given the JetStream
	// stream; at creation.
	PlacementTags []string

	// EventsPerMessage is how many events of an append a message may hold. 0: as
	// many as fit, which makes an append one message. 1: one message an event,
	// for consumers of yours that want that; an append of several events is then
	// an atomic batch, for which a single-replica file store takes 30 to 100 times
	// as long (docs/design.md), and which can hold 1,000 messages. Any number but 0
	// has each append be a commit of its own, as handlers of named subscriptions may
	// want it: none is written together with others.
	EventsPerMessage int

	// HeadCacheSize is how many event streams' heads (version, position, recent
	// commits; about 600 bytes each) are remembered, so that an append needs one
	// round trip instead of two. 0: [DefaultHeadCacheSize]. At most 16,777,216.
	HeadCacheSize int

	// ReadConsistency says which server's word a read of an event stream's head
	// is. 0: [ReadYourWrites].
	ReadConsistency ReadConsistency

	// Timeout bounds an operation whose context has no deadline. For an iterator
	// it bounds each wait for the server. 0: [DefaultTimeout]. How long a send may
	// be held up by a connection that takes nothing is told by
	// nats.FlusherTimeout, not by this or a context.
	Timeout time.Duration

	// RequestTimeout is how long an answer of the server is waited for before
	// the request is sent again, within the operation's deadline; a write waits
	// twice as long each time. 0: [DefaultRequestTimeout].
	RequestTimeout time.Duration

	// Logger is told, at level Debug, of what is retried and why, and, at level Warn,
	// where [Open] finds that the server lost data. nil: discard.
	Logger *slog.Logger
}

// Storage is where the server keeps a JetStream stream.
type Storage int

// The kinds of storage.
const (
	FileStorage   Storage = iota // on disk
	MemoryStorage                // in memory: gone when the servers stop
)

// String returns "file" or "memory".
func (s Storage) String() string {
	if s == MemoryStorage {
		return "memory"
	}
	return "file"
}

// ReadConsistency says what a read sees of what other processes write.
type ReadConsistency int

const (
	// ReadYourWrites asks any replica: a read of an event stream sees this
	// process's own writes, and never less than this process saw before, but may
	// miss what another process wrote a moment ago.
	ReadYourWrites ReadConsistency = iota

	// ReadLeader asks the leader: a read also sees what other processes were
	// acknowledged before it began, unless the leader asked is one that was cut
	// off and does not know yet, which was seen to answer for 11 s, or one that was
	// just elected and does not know all yet (nats-server 2.15.2). Only an append is a
	// linearization point.
	ReadLeader
)

func (c Config) withDefaults() (Config, error) {
	if c.Stream == "" {
		c.Stream = DefaultStream
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.HeadCacheSize == 0 {
		c.HeadCacheSize = DefaultHeadCacheSize
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, c.check()
}

func (c Config) check() error {
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("jetstream: %w: Config.%s is %v, must be %s", backend.ErrInvalidArgument, field, value, want)
	}
	if err := (tributary.Subjects{Prefix: c.Prefix}).Validate(); err != nil {
		return fmt.Errorf("jetstream: %w: Config.Prefix: %w", backend.ErrInvalidArgument, err)
	}
	switch {
	case len(c.Stream) > 128 || strings.ContainsFunc(c.Stream, notInStreamName):
		return bad("Stream", fmt.Sprintf("%.140q", c.Stream), "at most 128 letters, digits, - and _")
	case len(c.Domain) > 128 || strings.ContainsFunc(c.Domain, notInStreamName): // or subjects were too long for the server
		return bad("Domain", fmt.Sprintf("%.140q", c.Domain), "at most 128 letters, digits, - and _")
	case c.Replicas < 0 || c.Replicas > 5:
		return bad("Replicas", c.Replicas, "0 to 5")
	case c.Storage != FileStorage && c.Storage != MemoryStorage:
		return bad("Storage", int(c.Storage), "FileStorage or MemoryStorage")
	case c.MaxBytes < 0:
		return bad("MaxBytes", c.MaxBytes, "0 or more")
	case c.EventsPerMessage < 0:
		return bad("EventsPerMessage", c.EventsPerMessage, "0 or more")
	case c.HeadCacheSize < 0 || c.HeadCacheSize > 1<<24:
		return bad("HeadCacheSize", c.HeadCacheSize, "0 to 16777216")
	case c.ReadConsistency != ReadYourWrites && c.ReadConsistency != ReadLeader:
		return bad("ReadConsistency", int(c.ReadConsistency), "ReadYourWrites or ReadLeader")
	case c.Timeout < 0 || c.Timeout > maxTimeout:
		return bad("Timeout", c.Timeout, "0 to 1h")
	case c.RequestTimeout < 0 || c.RequestTimeout > maxTimeout:
		return bad("RequestTimeout", c.RequestTimeout, "0 to 1h")
	}
	return nil
}

// maxTimeout bounds the timeouts: the server is told multiples of them.
const maxTimeout = time.Hour

// notInStreamName is stricter than the server, which allows more characters in
// the names of JetStream streams: these go into subjects of its API as they are.
func notInStreamName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}
