package jetstream

import (
	"errors"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/internal/testserver"
)

// connectAllowed connects a client that may publish to allowed only.
func connectAllowed(t *testing.T, allowed ...string) *nats.Conn {
	t.Helper()
	s := testserver.Single(t, testserver.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: allowed},
		}}}
	}))
	return s.Connect(t, nats.UserInfo("u", "p"))
}

// What is taken for a refusal of a write ends it with the word that nothing was
// written, so it must be of this very subject, and of now.
func TestARefusalIsOfTheSubjectAndNotAnOldOne(t *testing.T) {
	nc := connectAllowed(t, "events.allowed")
	a := newAcks(nc)
	refused := func(subject string, before error) error {
		a.look(1)
		if err := a.looked.Load().refused(2, subject, before); err != nil {
			t.Errorf("%s: %v of what was sent after the look", subject, err)
		}
		return a.looked.Load().refused(1, subject, before)
	}
	deny := func(subject string) error {
		t.Helper()
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil { // whose answer comes after the refusal
			t.Fatal(err)
		}
		return nc.LastError()
	}
	for _, subject := range []string{"events.account-42", `events."quoted"`, `events.a\b`, "events.振替.it's", "events.it's'"} {
		before := nc.LastError()
		if err := refused(subject, before); err != nil {
			t.Errorf("%s: %v before anything was sent", subject, err)
		}
		last := deny(subject)
		if err := refused(subject, before); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v, want a permission violation", subject, err)
		}
		if err := refused(subject, last); err != nil {
			t.Errorf("%s: %v, which is old", subject, err)
		}
		if again := deny(subject); refused(subject, last) == nil || again == last {
			t.Errorf("%s: the second refusal isn't told from the first", subject)
		}
		for _, other := range []string{subject + "x", subject[:len(subject)-1], "x" + subject, "events.allowed", ""} {
			if err := refused(other, before); err != nil {
				t.Errorf("%s, which was not refused: %v", other, err)
			}
		}
	}
}
