package jobs

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/bench/internal/measure"
	"github.com/tributary-es/tributary/bench/internal/raw"
)

// rawWindows are how many messages the raw import may have under way, of which
// the best is taken: what an import of ours has, and nats.go's default.
var rawWindows = []int{backend.DefaultImportWindow, 4000}

// importJob imports appends to many event streams.
func importJob() Job {
	const ours, theirs = 0, 1
	return Job{
		Name: "import",
		Rows: []Row{{
			Key:    "import",
			Work:   fmt.Sprintf("import %s appends of 1 event to %s new event streams", thousands(Full().Imported), thousands(Full().ImportTo)),
			NextTo: "raw `PublishMsgAsync` of the same messages and fences",
			How: "The event streams take turns. The raw side publishes the messages that such an import stored, made beforehand but for the fence, " +
				"which is taken from the acknowledgement of the message before on the subject; how many messages it may have under way is the better of two numbers.",
			Ours: ours, Theirs: theirs, Quantity: measure.Rate, Target: Target{AtLeast: 0.7},
		}},
		Setup: func(ctx context.Context, s *Store) (*Setup, error) {
			if err := s.importTo(ctx, "template"); err != nil {
				return nil, err
			}
			template, err := s.Raw.Stored(ctx, s.subject("template.>"))
			if err != nil {
				return nil, err
			}
			window, err := s.bestWindow(ctx, template)
			if err != nil {
				return nil, err
			}
			return &Setup{
				Sides: []measure.Side{
					ours:   s.importSide(),
					theirs: s.rawImportSide(template, window),
				},
				Notes: []string{fmt.Sprintf("The raw import has %s messages, and was fastest with %s under way.", thousands(len(template)), thousands(window))},
			}, nil
		},
	}
}

// appends are those of an import, to event streams whose names begin with prefix.
func (s *Store) appends(prefix string) iter.Seq2[backend.StreamAppend, error] {
	event := events(1)
	return func(yield func(backend.StreamAppend, error) bool) {
		for i := range s.Imported {
			a := backend.StreamAppend{
				StreamUUID: fmt.Sprintf("%s.%d", prefix, i%s.ImportTo),
				Expected:   backend.ExactVersion(uint64(i / s.ImportTo)),
				Events:     event,
			}
			if !yield(a, nil) {
				return
			}
		}
	}
}

func (s *Store) importTo(ctx context.Context, prefix string) error {
	done, err := backend.Import(ctx, s.Backend, s.appends(prefix), backend.ImportOptions{}, uuid.Nil)
	if err == nil && done.Appends != uint64(s.Imported) {
		err = fmt.Errorf("%d appends of %d", done.Appends, s.Imported)
	}
	return err
}

func (s *Store) importSide() measure.Side {
	return measure.Side{
		Name: "Tributary",
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(s.Imported, func() error { return s.importTo(ctx, fmt.Sprintf("ours-%d", r.Number)) })
		},
	}
}

func (s *Store) rawImportSide(template []*nats.Msg, window int) measure.Side {
	var messages []*nats.Msg
	return measure.Side{
		Name: "nats.go",
		Prepare: func(_ context.Context, round int) error {
			messages = s.copies(template, fmt.Sprintf("raw-%d", round))
			return nil
		},
		Run: func(ctx context.Context, r *measure.Round) error {
			return r.Time(s.Imported, func() error { return raw.Import(ctx, s.nc, messages, window) })
		},
	}
}

// copies returns messages for other subjects.
func (s *Store) copies(template []*nats.Msg, prefix string) []*nats.Msg {
	from := len(s.subject("template"))
	copied := make([]*nats.Msg, len(template))
	for i, msg := range template {
		copied[i] = &nats.Msg{Subject: s.subject(prefix) + msg.Subject[from:], Header: maps.Clone(msg.Header), Data: msg.Data}
	}
	return copied
}

func (s *Store) bestWindow(ctx context.Context, template []*nats.Msg) (int, error) {
	best, least := 0, time.Duration(0)
	for try := range 2 {
		for _, window := range rawWindows {
			messages := s.copies(template, fmt.Sprintf("try-%d-%d", try, window))
			start := time.Now()
			if err := raw.Import(ctx, s.nc, messages, window); err != nil {
				return 0, err
			}
			if took := time.Since(start); best == 0 || took < least {
				best, least = window, took
			}
		}
	}
	return best, nil
}
