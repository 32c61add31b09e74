package jetstream

import (
	"context"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// What decides between the chain and a consumer (BenchmarkChainOrConsumer, two
// cores, nats-server 2.15.2), in microseconds, by the messages read, and how many
// others are for each:
//
//	                            4    16    32    64   200
//	one server, none: chain   270   540  1100  2460  7260
//	               consumer   580   820  1140  1500  2740
//	three, 19 others: chain   550  1050  1940  3960  8670
//	               consumer  1810  2270  2060  3130  3600
//	one server, 499:  chain   220   680  1340  2290  6890
//	               consumer   830  2520  4480  4470 12180
//
// A consumer takes some time to be made, three times as long on three replicas,
// where each get takes longer, too; and it passes over some 250 messages of others
// in the time that the chain takes longer for a message.
const (
	chainMessages = 32
	chainBetween  = 256

	// chainMost bounds what is read along the chain however many others are
	// between: every 16 messages wait for those before, which takes the longer
	// the further away the server is.
	chainMost = 256
)

// place is somewhere in an event stream: a commit, and some of those before it.
type place struct {
	version uint64      // that the first of links ends with
	links   []wire.Link // newest first
	tail    *stored     // a message that is here already, mostly that of the first of links; nil: none
}

// place returns where the event stream ends.
func (h *head) place() place {
	return place{version: h.state.Version, links: h.links, tail: h.tail}
}

// below is the version before all that links name.
func (p *place) below() uint64 {
	version := p.version
	for _, l := range p.links {
		version -= min(version, uint64(l.Events))
	}
	return version
}

// covers reports whether links name the commit that has a version.
func (p *place) covers(version uint64) bool {
	return p.below() < version && version <= p.version
}

// readChain reads the versions from to to along the chain, if that is probably
// faster than a scan. The error is errChainLost where it isn't, or where the chain
// doesn't lead there.
func (b *Backend) readChain(ctx context.Context, t target, h *head, from, to uint64) ([]backend.RecordedEvent, error) {
	messages := h.messages(from, to)
	if b.paths.noChain || !b.chainIsFaster(h, messages) {
		return nil, errChainLost
	}
	p := h.place()
	if !p.covers(to) {
		p, _ = b.seek(ctx, t, h, to, true)
	}
	return b.followChain(ctx, t, h, p, from, to, 2*messages+maxLinks)
}

// chainIsFaster guesses whether so many messages are faster read along the chain
// than through a consumer, which passes over all that lies between.
func (b *Backend) chainIsFaster(h *head, messages uint64) bool {
	if len(h.links) == 0 || messages > chainMost {
		return false
	}
	oldest := min(h.links[len(h.links)-1].Position, h.position)
	between := (h.position - oldest) / uint64(len(h.links)) // on average
	return messages <= chainMessages+messages*min(between, chainBetween)/chainBetween
}

// messages guesses how many messages have the versions from to to, if all commits
// are as the latest.
func (h *head) messages(from, to uint64) uint64 {
	var messages, events uint64 = 1, 1
	for _, l := range h.links {
		messages += uint64(l.Parts)
		events += uint64(l.Events)
	}
	return uint64(min(float64(to-from+1)/float64(events)*float64(messages), 1<<32)) + 1
}

// followChain reads the versions from to to through the commits that p's links
// name, and the links of those, and so on. A chain is a hint: every message is
// checked to be the one that the event stream has at that version, so that a
// wrong chain costs time and nothing else.
func (b *Backend) followChain(ctx context.Context, t target, h *head, p place, from, to, most uint64) ([]backend.RecordedEvent, error) {
	var commits []commit // newest first
	for {
		// What is above to is passed over, what reaches below from is the end.
		var wanted []wire.Link
		below := p.version
		for _, l := range p.links {
			if below < from || below < uint64(l.Events) || l.Position > h.position || uint64(l.Parts) > l.Position {
				break
			}
			if below-uint64(l.Events) < to {
				wanted = append(wanted, l)
				most -= min(most, uint64(l.Parts))
			} else {
				p.version = below - uint64(l.Events)
			}
			below -= uint64(l.Events)
		}
		if len(wanted) == 0 || most == 0 {
			return nil, errChainLost
		}
		fetched, err := b.fetchCommits(ctx, t, h.state.ID, p, wanted)
		if err != nil {
			return nil, err
		}
		commits = append(commits, fetched...)
		oldest := &fetched[len(fetched)-1]
		p = place{version: oldest.before(), links: oldest.parts[0].rec.Chain()}
		if p.version < from {
			return collect(commits, t, from, to)
		}
	}
}

// collect returns the events of commits, newest first, in order.
func collect(commits []commit, t target, from, to uint64) ([]backend.RecordedEvent, error) {
	oldest := max(from, commits[len(commits)-1].before()+1)
	events := make([]backend.RecordedEvent, 0, min(to, commits[0].version())-oldest+1)
	var err error
	for i := len(commits) - 1; i >= 0; i-- {
		if events, err = commits[i].appendEvents(events, t.uuid, from, to); err != nil {
			return nil, err
		}
	}
	return events, nil
}

// fetchCommits gets the commits that links name, newest first, the first of
// which ends with p's version.
func (b *Backend) fetchCommits(ctx context.Context, t target, id uint64, p place, links []wire.Link) ([]commit, error) {
	var positions []uint64
	parts := uint32(0)
	for _, l := range links {
		parts += l.Parts
		for part := l.Position - uint64(l.Parts) + 1; part <= l.Position; part++ {
			if p.tail == nil || part != p.tail.position {
				positions = append(positions, part)
			}
		}
	}
	messages, err := b.getAll(ctx, positions)
	if err != nil {
		return nil, err
	}
	version := p.version
	commits := make([]commit, 0, len(links))
	room := make([]part, parts)
	var decoder wire.Decoder
	for _, l := range links {
		c := commit{parts: room[:0:l.Parts], decoder: decoder}
		room = room[l.Parts:]
		for part := l.Position - uint64(l.Parts) + 1; part <= l.Position; part++ {
			m := p.tail
			if m == nil || part != m.position {
				m, messages = messages[0], messages[1:]
			}
			if m == nil || m.subject != t.subject {
				return nil, errChainLost
			}
			p, err := c.decode(m)
			if err != nil || !c.add(p) {
				return nil, errChainLost
			}
		}
		if !c.complete() || c.version() != version || c.events() != uint64(l.Events) || c.streamID() != id {
			return nil, errChainLost
		}
		commits = append(commits, c)
		version, decoder = c.before(), c.decoder
	}
	return commits, nil
}
