package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/tributary-es/tributary/backend"
)

// maxListed bounds the erased messages that the server is had to list: it tells
// of lost data only together with the sequence of each one that is missing, some
// ten bytes of JSON (nats-server 2.15.2, State in filestore.go).
const maxListed = 50_000

// lostData is what the server says that it lost of a JetStream stream: what it
// couldn't read when it started, or has found since. It forgets that when it
// starts the next time.
type lostData struct {
	Sequences []uint64 `json:"msgs"` // as far as it knows them
	Bytes     uint64   `json:"bytes"`
}

// warnOfLost tells the logger where the server says that it lost data. It is the
// leader's word on its own files, which it may have mended from its peers; and a
// lone server cuts off what it had half written when the power went, too, which
// nobody was acknowledged. So that it is no reason to refuse the store.
func (b *Backend) warnOfLost(ctx context.Context, erased uint64) error {
	if erased > maxListed {
		b.log.DebugContext(ctx, "the server isn't asked whether it lost data, as it would list all erased messages", "stream", b.cfg.Stream, "erased", erased)
		return nil
	}
	var info struct {
		State struct {
			Lost *lostData `json:"lost"`
		} `json:"state"`
	}
	request := struct {
		Details bool `json:"deleted_details"`
	}{true}
	err := b.call(ctx, b.api.info, request, &info)
	if _, ok := errors.AsType[*apiError](err); ok {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	if lost := info.State.Lost; err == nil && lost != nil {
		b.log.WarnContext(ctx, "the server lost messages of the JetStream stream: the last events of some event streams may be missing",
			"stream", b.cfg.Stream, "bytes", lost.Bytes, "which", lost.which())
	}
	return err
}

func (l *lostData) which() string {
	if len(l.Sequences) == 0 {
		return "it doesn't know which"
	}
	return fmt.Sprintf("%d of those from position %d to %d", len(l.Sequences), l.Sequences[0], l.Sequences[len(l.Sequences)-1])
}
