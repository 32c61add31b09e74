package securitytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// hostileNames are names of event streams that would reach elsewhere, were they
// put into subjects as they are.
var hostileNames = []string{
	"account-42",
	">", "*", "*.*", "a.>", "a.*", "a.*.b", ">.a", "a>", "*a",
	".", "..", "...", ".a", "a.", "a..b",
	"events", "events.>", "events.account-42", "acme.account-42", "umbrella.account-42", "ACME", "UMBRELLA",
	"x.$JS.API.STREAM.DELETE.EVENTS", ".$JS.API.STREAM.PURGE.EVENTS", "JS.API.>", "a.$SYS.>", "a.$KV.x", "_INBOX.>", "_INBOX",
	"%", "%2A", "%3E", "%252A", "a.%.b", "%24JS.API.INFO",
	"\uFFFD", "\u202Eevil", "ＡＣＣＯＵＮＴ", "a\u00a0b", "\u2028", "'\"`;--", "\\r\\n", "../../etc/passwd", strings.Repeat("a.", 126) + "b", strings.Repeat("*", 255),
}

// reservedNames are refused before anything is sent.
var reservedNames = []string{"$JS.API.STREAM.DELETE.EVENTS", "$SYS.REQ.SERVER.PING", "$", "$JS.API.>", "a b", "a\r\nPUB x 0\r\n", "a\x00b", "\xff", "", strings.Repeat("a", 256)}

func TestTenantsInTwoAccountsNeitherSeeNorTouchEachOther(t *testing.T) {
	tenants := []string{"acme", "umbrella"}
	for _, tenant := range tenants {
		t.Setenv(strings.ToUpper(tenant)+"_PASSWORD", "secret-of-"+tenant)
	}
	s := start(t, "tenants.conf")
	stores := make(map[string]*jetstream.Backend)
	heard := make(map[string]*nats.Subscription)
	for _, tenant := range tenants {
		login := nats.UserInfo(tenant, "secret-of-"+tenant)
		// With the same JetStream stream, prefix, and names, and all the rights
		// that there are within an account.
		stores[tenant] = open(t, s.Connect(t, login))
		nc := s.Connect(t, login)
		sub, err := nc.SubscribeSync("events.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		heard[tenant] = sub
	}
	for i, tenant := range tenants {
		for _, name := range hostileNames {
			// Of different lengths, so that versions and positions differ.
			for range i + 1 {
				one := []backend.UnsavedEvent{{EventType: "Written", Data: fmt.Appendf(nil, "%s: %s", tenant, name)}}
				appendTo(t, stores[tenant], name, one)
			}
		}
	}
	wantOwn := func(tenant string, commits int) {
		t.Helper()
		var names []string
		for batch, err := range backend.ReadAll(t.Context(), stores[tenant], backend.ReadAllOptions{}, uuid.Nil) {
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range batch {
				if want := tenant + ": " + e.StreamUUID; string(e.Data) != want {
					t.Errorf("%s reads %q in %q", tenant, e.Data, e.StreamUUID)
				}
				names = append(names, e.StreamUUID)
			}
		}
		if len(names) != commits*len(hostileNames) {
			t.Errorf("%s has %d events, want %d", tenant, len(names), commits*len(hostileNames))
		}
		for _, name := range hostileNames {
			if !slices.Contains(names, name) {
				t.Errorf("%s misses %q", tenant, name)
			}
			got, err := stores[tenant].ReadStream(t.Context(), name, 0, 10, uuid.Nil)
			if err != nil || len(got) != commits {
				t.Errorf("%s: %q has %d events, %v, want %d", tenant, name, len(got), err, commits)
			}
		}
	}
	wantOwn("acme", 1)
	wantOwn("umbrella", 2)
	for i, tenant := range tenants {
		for range (i + 1) * len(hostileNames) {
			msg, err := heard[tenant].NextMsg(patience)
			if err != nil || !strings.HasPrefix(string(msg.Data), tenant+": ") {
				t.Fatalf("%s hears %v, %v", tenant, msg, err)
			}
		}
		if n, _, err := heard[tenant].Pending(); n != 0 || err != nil {
			t.Errorf("%s hears %d messages more, %v", tenant, n, err)
		}
	}

	// One erases everything. The other has what it had.
	for _, name := range hostileNames {
		if err := stores["umbrella"].DeleteStream(t.Context(), backend.Stream{UUID: name}, uuid.Nil); err != nil {
			t.Errorf("deleting %q: %v", name, err)
		}
	}
	wantOwn("acme", 1)
	for _, tenant := range tenants {
		for _, name := range reservedNames {
			_, err := stores[tenant].AppendToStream(t.Context(), name, events(1), uuid.Nil)
			if !errors.Is(err, tributary.ErrInvalidStreamUUID) {
				t.Errorf("%q: %v, want ErrInvalidStreamUUID", name, err)
			}
		}
	}
}
