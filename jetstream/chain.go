package jetstream

import (
	"context"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// maxHops is how often a chain is followed to where another goes on: 16 commits
// a hop, each one round trip, against the 1.3 ms and more of a consumer.
const maxHops = 4

// followChain reads the versions from to to through the commits that h's chain
// names. A chain is a hint: every message is checked to be the one that the
// event stream has at that version, so that a wrong chain costs time and nothing
// else.
func (b *Backend) followChain(ctx context.Context, t target, h *head, from, to uint64) ([]backend.RecordedEvent, error) {
	var commits []commit // newest first
	links, version := h.links, h.state.Version
	for range maxHops {
		// What is above to is passed over, what reaches below from is the end.
		var wanted []wire.Link
		below := version
		if !reaches(links, version, from) {
			return nil, errChainLost
		}
		for _, l := range links {
			if below < from || below < uint64(l.Events) {
				break
			}
			if below-uint64(l.Events) < to {
				wanted = append(wanted, l)
			} else {
				version = below - uint64(l.Events)
			}
			below -= uint64(l.Events)
		}
		if len(wanted) == 0 {
			return nil, errChainLost
		}
		fetched, err := b.fetchCommits(ctx, t, h, wanted, version)
		if err != nil {
			return nil, err
		}
		commits = append(commits, fetched...)
		oldest := &fetched[len(fetched)-1]
		version = oldest.before()
		if version < from {
			return collect(commits, t, from, to)
		}
		links = oldest.parts[0].rec.Chain()
	}
	return nil, errChainLost
}

// reaches guesses whether following links from version leads down to from within
// maxHops, if the commits before them are as large as they are.
func reaches(links []wire.Link, version, from uint64) bool {
	var linked uint64
	for _, l := range links {
		linked += uint64(l.Events)
	}
	return version < from+linked*maxHops
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
// which ends with version.
func (b *Backend) fetchCommits(ctx context.Context, t target, h *head, links []wire.Link, version uint64) ([]commit, error) {
	total := uint64(0)
	for _, l := range links {
		total += uint64(l.Parts)
		if l.Position > h.position || uint64(l.Parts) > l.Position {
			return nil, errChainLost
		}
	}
	if total > 4*maxLinks {
		return nil, errChainLost // large commits: a stream of messages is faster
	}
	positions := make([]uint64, 0, total)
	for _, l := range links {
		for part := l.Position - uint64(l.Parts) + 1; part <= l.Position; part++ {
			if h.tail == nil || part != h.tail.position {
				positions = append(positions, part)
			}
		}
	}
	messages, err := b.getAll(ctx, positions)
	if err != nil {
		return nil, err
	}
	commits := make([]commit, 0, len(links))
	for _, l := range links {
		var c commit
		for part := l.Position - uint64(l.Parts) + 1; part <= l.Position; part++ {
			m := h.tail
			if m == nil || part != m.position {
				m, messages = messages[0], messages[1:]
			}
			if m == nil || m.subject != t.subject {
				return nil, errChainLost
			}
			p, err := newPart(m)
			if err != nil || !c.add(p) {
				return nil, errChainLost
			}
		}
		if !c.complete() || c.version() != version || c.events() != uint64(l.Events) || c.streamID() != h.state.ID {
			return nil, errChainLost
		}
		commits = append(commits, c)
		version = c.before()
	}
	return commits, nil
}
