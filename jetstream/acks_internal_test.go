package jetstream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Ten gets that are waited for together are ten checks at a time.
func TestChecksThatComeTogetherAreNoTimeToWait(t *testing.T) {
	var p patience
	for range 1000 {
		if err := p.spent(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.spent(t.Context(), time.Nanosecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("after the time to wait: %v", err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := p.spent(over, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
}
