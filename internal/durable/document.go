package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// documentFormat is the version of the document's format.
const documentFormat = 1

// document is all that is kept about a subscription.
type document struct {
	Format  int    `json:"format"`
	Life    string `json:"life"` // tells the subscription from others that had the name
	Options shared `json:"options"`

	// Epoch counts the resets. What a member found out in an earlier one is of no
	// meaning any more.
	Epoch  uint64  `json:"epoch,omitempty"`
	Resets []reset `json:"resets,omitempty"` // those that tell what is no longer parked

	Members    map[string]presence `json:"members,omitempty"` // by id
	Partitions []partition         `json:"partitions"`
	Requests   []request           `json:"requests,omitempty"` // about what is parked
	Asked      uint64              `json:"asked,omitempty"`    // how many there were
}

// shared are the options that all members have in common.
type shared struct {
	Stream        string        `json:"stream,omitempty"`
	Under         string        `json:"under,omitempty"`
	EventTypes    []string      `json:"event_types,omitempty"` // sorted
	OnPark        string        `json:"on_park"`
	Partitions    int           `json:"partitions"`
	TakeoverAfter time.Duration `json:"takeover_after"` // ns
}

// presence is a member, as the others see it.
type presence struct {
	Name string    `json:"name"`
	Rank uint64    `json:"rank"`    // higher than that of those who joined before
	Beat uint64    `json:"beat"`    // goes up while it is alive
	Seen time.Time `json:"seen_at"` // when that was, by its clock
}

// partition is a part of the event streams.
type partition struct {
	Owner    string `json:"owner,omitempty"` // the id of the member that deals with it; empty: none does
	Position uint64 `json:"position"`        // up to which (inclusive) it is dealt with
}

// maxResets is how many resets are kept, each to a higher position than the one
// before. Of an older one only what was parked before it, and still is, could tell.
const maxResets = 100

// maxRequests is how many requests may wait, so that the document remains one
// message.
const maxRequests = 256

// reset is one to a position.
type reset struct {
	Epoch    uint64 `json:"epoch"` // which it began
	Position uint64 `json:"position"`
}

// request asks the owner of an event stream for something about a parked commit.
type request struct {
	Stream   string `json:"stream"`
	Position uint64 `json:"position"` // of the parked commit
	Discard  bool   `json:"discard,omitempty"`
	Number   uint64 `json:"number,omitempty"` // tells it from one for the same that was carried out
}

func sharedOf(o backend.ConsumeOptions) shared {
	return shared{
		Stream:        o.Stream,
		Under:         o.Under,
		EventTypes:    slices.Compact(slices.Sorted(slices.Values(o.EventTypes))),
		OnPark:        o.OnPark.String(),
		Partitions:    o.Partitions,
		TakeoverAfter: o.TakeoverAfter,
	}
}

// conflict returns a [*backend.SubscriptionConflictError] for the first option in
// which want differs from have.
func conflict(name string, have, want shared) error {
	for _, o := range []struct {
		option     string
		have, want any
	}{
		{"Stream", quoted(have.Stream), quoted(want.Stream)},
		{"Under", quoted(have.Under), quoted(want.Under)},
		{"EventTypes", fmt.Sprintf("%q", have.EventTypes), fmt.Sprintf("%q", want.EventTypes)},
		{"OnPark", have.OnPark, want.OnPark},
		{"Partitions", have.Partitions, want.Partitions},
		{"TakeoverAfter", have.TakeoverAfter, want.TakeoverAfter},
	} {
		if o.have != o.want {
			return &backend.SubscriptionConflictError{Name: name, Option: o.option, Have: fmt.Sprint(o.have), Want: fmt.Sprint(o.want)}
		}
	}
	return nil
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// newDocument describes a subscription that starts after position.
func newDocument(options shared, position uint64) *document {
	d := &document{Format: documentFormat, Life: uuid.NewString(), Options: options, Members: map[string]presence{}, Partitions: make([]partition, options.Partitions)}
	for i := range d.Partitions {
		d.Partitions[i].Position = position
	}
	return d
}

func (d *document) encode() ([]byte, error) { return json.Marshal(d) }

var errDocument = errors.New("the stored document of a named subscription")

func decodeDocument(name string, value []byte) (*document, error) {
	d := &document{}
	bad := func(err error) error {
		return &backend.CorruptedError{Reason: fmt.Sprintf("%v %q", errDocument, name), Err: err}
	}
	if err := json.Unmarshal(value, d); err != nil {
		return nil, bad(err)
	}
	if d.Format != documentFormat {
		return nil, bad(fmt.Errorf("format %d, this version reads %d", d.Format, documentFormat))
	}
	if len(d.Partitions) == 0 || len(d.Partitions) != d.Options.Partitions {
		return nil, bad(fmt.Errorf("%d partitions, its options say %d", len(d.Partitions), d.Options.Partitions))
	}
	if d.Members == nil {
		d.Members = map[string]presence{}
	}
	return d, nil
}

// partitionOf is the partition of an event stream: the FNV-1a hash of its name, 64
// bits, modulo how many there are.
func partitionOf(streamUUID string, partitions int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(streamUUID))
	return int(h.Sum64() % uint64(partitions))
}

// position is up to where everything is dealt with.
func (d *document) position() uint64 {
	least := d.Partitions[0].Position
	for _, p := range d.Partitions {
		least = min(least, p.Position)
	}
	return least
}

// ownedBy returns the partitions of a member, in order.
func (d *document) ownedBy(id string) []int {
	var owned []int
	for i, p := range d.Partitions {
		if p.Owner == id {
			owned = append(owned, i)
		}
	}
	return owned
}

// add adds a member, behind those that are there. It may be there already, as far
// as an answer was lost.
func (d *document) add(id, name string, seen time.Time) {
	if p, ok := d.Members[id]; ok {
		p.Beat++
		p.Seen = seen
		d.Members[id] = p
		return
	}
	var last uint64
	for _, p := range d.Members {
		last = max(last, p.Rank)
	}
	d.Members[id] = presence{Name: name, Rank: last + 1, Beat: 1, Seen: seen}
}

// remove removes a member; what it has becomes free.
func (d *document) remove(id string) {
	delete(d.Members, id)
	for i := range d.Partitions {
		if d.Partitions[i].Owner == id {
			d.Partitions[i].Owner = ""
		}
	}
}

// quota is how many partitions a member is to have: as many as every other, and
// one more for those who joined first where they don't divide, so that who comes
// takes no more away than it needs. All quotas together are all partitions, so
// that a member that has fewer than its quota finds some free, now or when another
// gave up what it has too many of.
func (d *document) quota(id string) int {
	self, ok := d.Members[id]
	if !ok {
		return 0
	}
	before := 0
	for _, p := range d.Members {
		if p.Rank < self.Rank {
			before++
		}
	}
	quota := len(d.Partitions) / len(d.Members)
	if before < len(d.Partitions)%len(d.Members) {
		quota++
	}
	return quota
}

// claim gives free partitions to a member, up to its quota, and returns them.
func (d *document) claim(id string) []int {
	missing := d.quota(id) - len(d.ownedBy(id))
	var claimed []int
	for i := range d.Partitions {
		if missing <= len(claimed) {
			break
		}
		if d.Partitions[i].Owner == "" {
			d.Partitions[i].Owner = id
			claimed = append(claimed, i)
		}
	}
	return claimed
}

// surplus is which partitions a member is to give up.
func (d *document) surplus(id string) []int {
	owned := d.ownedBy(id)
	return owned[min(len(owned), d.quota(id)):]
}

// resetTo has the subscription go on after position.
func (d *document) resetTo(position uint64) {
	d.Epoch++
	for i := range d.Partitions {
		d.Partitions[i].Position = position
	}
	// An earlier reset to a higher position takes away nothing that this one leaves.
	d.Resets = slices.DeleteFunc(d.Resets, func(r reset) bool { return r.Position >= position })
	d.Resets = append(d.Resets, reset{Epoch: d.Epoch, Position: position})
	d.Resets = d.Resets[max(0, len(d.Resets)-maxResets):]
	d.Requests = slices.DeleteFunc(d.Requests, func(r request) bool { return r.Position > position })
}

// forgets reports whether a reset has forgotten a commit that was parked in an
// epoch.
func (d *document) forgets(epoch, position uint64) bool {
	return slices.ContainsFunc(d.Resets, func(r reset) bool { return r.Epoch > epoch && position > r.Position })
}

// observer finds out by its own clock which members are silent.
type observer struct {
	seen map[string]observation // by id
}

type observation struct {
	beat  uint64
	since time.Time // when that beat was seen first
}

// observe notes the members' beats, and returns those that have been silent for
// as long as the takeover time. now is after the document was loaded: a beat may
// have come while that took its time.
func (o *observer) observe(d *document, now time.Time) (silent []string) {
	seen := make(map[string]observation, len(d.Members))
	for id, p := range d.Members {
		last, ok := o.seen[id]
		if !ok || last.beat != p.Beat {
			last = observation{beat: p.Beat, since: now}
		}
		seen[id] = last
		if now.Sub(last.since) >= d.Options.TakeoverAfter {
			silent = append(silent, id)
		}
	}
	o.seen = seen
	return silent
}
