package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// formatKey is where a JetStream stream's metadata tells the format within.
const formatKey = "tributary.format"

// streamConfig is the server's configuration of a JetStream stream, as far as it
// is set or looked at here.
type streamConfig struct {
	Name               string            `json:"name"`
	Subjects           []string          `json:"subjects,omitempty"`
	Retention          string            `json:"retention"`
	MaxConsumers       int               `json:"max_consumers"`
	MaxMsgs            int64             `json:"max_msgs"`
	MaxBytes           int64             `json:"max_bytes"`
	MaxAge             time.Duration     `json:"max_age"`
	MaxMsgsPerSubject  int64             `json:"max_msgs_per_subject"`
	MaxMsgSize         int               `json:"max_msg_size"`
	Discard            string            `json:"discard"`
	Storage            string            `json:"storage"`
	Replicas           int               `json:"num_replicas"`
	NoAck              bool              `json:"no_ack,omitempty"`
	Placement          *placement        `json:"placement,omitempty"`
	Mirror             *struct{}         `json:"mirror,omitempty"`
	Sources            []struct{}        `json:"sources,omitempty"`
	Compression        string            `json:"compression,omitempty"`
	SubjectTransform   *struct{}         `json:"subject_transform,omitempty"`
	Sealed             bool              `json:"sealed,omitempty"`
	DenyDelete         bool              `json:"deny_delete,omitempty"`
	DenyPurge          bool              `json:"deny_purge,omitempty"`
	AllowRollup        bool              `json:"allow_rollup_hdrs,omitempty"`
	AllowDirect        bool              `json:"allow_direct"`
	AllowMsgCounter    bool              `json:"allow_msg_counter,omitempty"`
	AllowAtomicPublish bool              `json:"allow_atomic,omitempty"`
	PersistMode        string            `json:"persist_mode,omitempty"`
	Metadata           map[string]string `json:"metadata,omitempty"`
}

type placement struct {
	Tags []string `json:"tags,omitempty"`
}

// streamInfo is what the server tells of a JetStream stream.
type streamInfo struct {
	Config  streamConfig `json:"config"`
	Created time.Time    `json:"created"`
	State   struct {
		LastSeq  uint64            `json:"last_seq"`
		Erased   uint64            `json:"num_deleted"` // messages between the first and the last
		Subjects map[string]uint64 `json:"subjects"`    // messages of those asked for
	} `json:"state"`
	Cluster struct {
		Leader string `json:"leader"` // who says so
	} `json:"cluster"`
}

// openStream finds or creates the JetStream stream, and checks that it is safe.
func (b *Backend) openStream(ctx context.Context) error {
	if !b.nc.HeadersSupported() && b.nc.IsConnected() {
		return fmt.Errorf("%w: the server doesn't support headers", backend.ErrUnavailable)
	}
	info, err := b.streamInfo(ctx, "")
	if isAPIError(err, codeStreamNotFound) {
		info, err = b.createStream(ctx)
	}
	if err != nil {
		if e, ok := errors.AsType[*apiError](err); ok && e.Code >= 500 {
			return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		}
		return err // as the server says it: overlapping subjects, no such placement
	}
	if err := b.checkStream(info.Config); err != nil {
		return err
	}
	b.created = info.Created
	b.replicas = info.Config.Replicas
	b.maxBytes = max(info.Config.MaxMsgSize, 0)
	return b.warnOfLost(ctx, info.State.Erased)
}

// streamInfo asks the leader about the JetStream stream, and how many messages of
// a subject there are; "": of none.
func (b *Backend) streamInfo(ctx context.Context, counted string) (streamInfo, error) {
	var request any
	if counted != "" {
		request = struct {
			Filter string `json:"subjects_filter"`
		}{counted}
	}
	var info streamInfo
	err := b.call(ctx, b.api.info, request, &info)
	return info, err
}

// createStream creates the JetStream stream, or finds that someone else just
// did.
func (b *Backend) createStream(ctx context.Context) (streamInfo, error) {
	config := streamConfig{
		Name:               b.cfg.Stream,
		Subjects:           []string{b.subjects.All()},
		Retention:          "limits",
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Discard:            "new",
		Storage:            b.cfg.Storage.String(),
		Replicas:           max(b.cfg.Replicas, 1),
		AllowRollup:        true,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
		Metadata:           map[string]string{formatKey: strconv.Itoa(wire.Format)},
	}
	if b.cfg.MaxBytes > 0 {
		config.MaxBytes = b.cfg.MaxBytes
	}
	if b.cfg.Compression {
		config.Compression = "s2"
	}
	if len(b.cfg.PlacementTags) > 0 {
		config.Placement = &placement{Tags: b.cfg.PlacementTags}
	}
	var info streamInfo
	var err error
	// One of the name that was deleted a moment ago may still be on its way out.
	for tries := range 10 {
		err = b.call(ctx, b.api.create, config, &info)
		if !isAPIError(err, codeCreatingFailed) || !pause(ctx, tries) {
			break
		}
	}
	if isAPIError(err, codeStreamNameInUse) {
		return b.streamInfo(ctx, "")
	}
	if err != nil && config.Replicas > 1 {
		err = fmt.Errorf("creating it with %d replicas: %w", config.Replicas, err)
	}
	return info, err
}

// checkStream returns an [*UnsafeStreamError] for the first setting that is not
// as it must be.
func (b *Backend) checkStream(c streamConfig) error {
	for _, s := range []struct {
		setting string
		ok      bool
		have    any
		want    string
	}{
		{"metadata " + formatKey, c.Metadata[formatKey] == strconv.Itoa(wire.Format), strconv.Quote(c.Metadata[formatKey]), strconv.Itoa(wire.Format) + ", the format that this version reads"},
		{"mirror", c.Mirror == nil, "set", "none"},
		{"subjects", len(c.Subjects) == 1 && c.Subjects[0] == b.subjects.All(), c.Subjects, "[" + b.subjects.All() + "]"},
		{"retention", c.Retention == "limits", c.Retention, "limits"},
		{"max_age", c.MaxAge == 0, c.MaxAge, "0, or events expire"},
		{"max_msgs_per_subject", c.MaxMsgsPerSubject <= 0, c.MaxMsgsPerSubject, "-1, or events are dropped"},
		{"discard", c.Discard == "new" || c.MaxMsgs <= 0 && c.MaxBytes <= 0, c.Discard, "new, or a full store drops events"},
		{"storage", c.Storage == b.cfg.Storage.String(), c.Storage, b.cfg.Storage.String()},
		{"num_replicas", c.Replicas >= b.cfg.Replicas, c.Replicas, "at least " + strconv.Itoa(b.cfg.Replicas)},
		{"no_ack", !c.NoAck, c.NoAck, "false"},
		{"sources", len(c.Sources) == 0, "set", "none"},
		{"subject_transform", c.SubjectTransform == nil, "set", "none"},
		{"sealed", !c.Sealed, c.Sealed, "false"},
		{"deny_purge", !c.DenyPurge, c.DenyPurge, "false, or nothing can be erased"},
		{"deny_delete", c.DenyDelete, c.DenyDelete, "true, or single events can be deleted"},
		{"allow_rollup_hdrs", c.AllowRollup, c.AllowRollup, "true"},
		{"allow_direct", c.AllowDirect, c.AllowDirect, "true"},
		{"persist_mode", c.PersistMode == "" || c.PersistMode == "default", c.PersistMode, "default, or acknowledged events can be lost"},
		{"allow_atomic", c.AllowAtomicPublish, c.AllowAtomicPublish, "true (nats-server 2.12 or newer)"},
		{"allow_msg_counter", !c.AllowMsgCounter, c.AllowMsgCounter, "false"},
	} {
		if !s.ok {
			return &UnsafeStreamError{Stream: b.cfg.Stream, Setting: s.setting, Have: fmt.Sprint(s.have), Want: s.want}
		}
	}
	return nil
}

// checkSame returns an error where the JetStream stream is no longer the one
// that was opened: positions of another mean nothing in it. counted is as for
// streamInfo.
func (b *Backend) checkSame(ctx context.Context, counted string) (streamInfo, error) {
	info, err := b.streamInfo(ctx, counted)
	if _, ok := errors.AsType[*apiError](err); ok {
		return info, fmt.Errorf("%w: JetStream stream %s: %w", backend.ErrUnavailable, b.cfg.Stream, err)
	}
	if err == nil && !info.Created.Equal(b.created) {
		return info, &backend.CorruptedError{Position: info.State.LastSeq,
			Reason: fmt.Sprintf("JetStream stream %s was deleted and made again after it was opened", b.cfg.Stream)}
	}
	return info, err
}

// isFull reports whether e is the answer of a server without room.
func isFull(e *apiError) bool {
	switch e.ErrCode {
	case codeAccountResources, codeInsufficient, codeMemoryResources, codeStorageResources:
		return true
	}
	return false
}
