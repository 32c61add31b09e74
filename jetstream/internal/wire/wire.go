// Package wire is the format in which commits are stored as JetStream messages.
// docs/FORMAT.md specifies it, rule by rule; the tests here are named after its
// rules.
//
// The package knows neither connections nor subjects: it turns commits into
// headers and bodies, and back.
package wire

import (
	"errors"
	"fmt"
	"time"
)

// Format is the version of the format that this package writes, and the newest
// that it reads.
const Format = 1

// The headers' names. Every one of them is ours: no text of a caller's ever
// becomes a name.
const (
	HeaderCommit      = "Trib-Commit"      // format version and kind
	HeaderVersion     = "Trib-Version"     // of the event stream after the message
	HeaderStream      = "Trib-Stream"      // the event stream's id and when it began
	HeaderFirst       = "Trib-First"       // the first version kept, where that is not 1
	HeaderDeleted     = "Trib-Deleted"     // when it was soft-deleted, while it is
	HeaderChain       = "Trib-Chain"       // the commits just before
	HeaderPart        = "Trib-Part"        // i/n and the version before the commit
	HeaderID          = "Trib-Id"          // event ids; of a marker, its own
	HeaderType        = "Trib-Type"        // event types
	HeaderSize        = "Trib-Size"        // data sizes in bytes
	HeaderCreated     = "Trib-Created"     // when the events happened
	HeaderCausation   = "Trib-Causation"   // causation ids
	HeaderCorrelation = "Trib-Correlation" // correlation ids
	HeaderMetadata    = "Trib-Metadata"    // metadata
)

// MaxChain is how many commits before itself a message names. With the message's
// own commit that makes 16, which a reader can have in two round trips.
const MaxChain = 15

// MaxParts is how many messages a commit may have: the most of an atomic batch
// (nats-server 2.15.2, streamDefaultMaxAtomicBatchSize). A message that tells of
// more is foreign: readers fetch, and make room for, as many as it tells.
const MaxParts = 1000

// MaxHeaderBytes is the most that the headers of a message may take. The server
// allows 65,535 (it keeps the length in 16 bits); the rest is left to what
// servers add when they source or mirror a message.
const MaxHeaderBytes = 63 << 10

var (
	// ErrMalformed is the reason of every decoding error.
	ErrMalformed = errors.New("not a message of this format")

	// ErrOtherFormat is the reason where a message is of another version of the
	// format. It is an ErrMalformed.
	ErrOtherFormat = fmt.Errorf("%w, but of another version of it", ErrMalformed)
)

// Kind says what a message is.
type Kind uint8

// The kinds. All but Events are markers: messages without events.
const (
	Events      Kind = iota // one or more events
	Created                 // the event stream begins, empty
	SoftDeleted             // it is hidden
	Restored                // it is visible again
	Truncated               // events before State.First are gone
	Erased                  // it is gone, and its name is free
)

var kindNames = [...]string{"events", "created", "soft-deleted", "restored", "truncated", "erased"}

// String returns the name of k in the format.
func (k Kind) String() string { return kindNames[k] }

// State is what a message tells about its event stream as it is after it.
type State struct {
	Version uint64    // of the last event; 0: none yet
	First   uint64    // the first version kept, from 1
	ID      uint64    // identifies this life of the name; never 0
	Created time.Time // when it began, UTC
	Deleted time.Time // when it was soft-deleted, UTC; zero: it is not
}

// Link is a commit named by a chain. Chains are hints: in a JetStream stream
// that was restored, sourced or mirrored, positions may be others.
type Link struct {
	Position uint64 // of its last message
	Events   uint32 // how many events it has
	Parts    uint32 // how many messages it has
}

// Part tells a message's place in a commit of several.
type Part struct {
	Index uint32 // from 1
	Count uint32 // 0: the commit is one message
	Base  uint64 // the version before the commit
	Begin bool   // the commit begins the event stream
}

// Last reports whether a commit is complete with this message.
func (p Part) Last() bool { return p.Index == p.Count }

// Message is one message: headers and a body, which is never empty.
type Message struct {
	Header map[string][]string
	Body   []byte
}
