package tributary_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tributary-es/tributary"
)

func addNames(f *testing.F, add func(text string)) {
	for _, tt := range legal {
		add(tt.name)
	}
	for _, tt := range illegal {
		add(tt.text)
	}
}

func FuzzSubjectRoundTrip(f *testing.F) {
	addNames(f, func(text string) {
		f.Add("", text)
		f.Add("acme.events", text)
	})
	f.Fuzz(func(t *testing.T, prefix, name string) {
		s := tributary.Subjects{Prefix: prefix}
		if s.Validate() != nil || tributary.CheckStreamUUID(name) != nil {
			if subject, err := s.Subject(name); subject != "" || err == nil {
				t.Fatalf("%q in spite of a bad prefix or name", subject)
			}
			return
		}
		subject, err := s.Subject(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(subject, effective(prefix)+".") {
			t.Errorf("%q does not begin with the prefix", subject)
		}
		if strings.ContainsAny(subject, "*> \t\r\n\x00\x7f") || !utf8.ValidString(subject) || len(subject) >= 1024 {
			t.Errorf("%q has what no subject may have", subject)
		}
		if !server.IsValidPublishSubject(subject) || !server.IsValidLiteralSubject(subject) {
			t.Errorf("the server would not take %q", subject)
		}
		if !server.SubjectMatchesFilter(subject, s.All()) {
			t.Errorf("%q is not in %q", subject, s.All())
		}
		if got, err := s.StreamUUID(subject); got != name || err != nil {
			t.Errorf("%q came back as %q, %v", name, got, err)
		}
	})
}

func FuzzNoTwoNamesShareASubject(f *testing.F) {
	for i, tt := range legal { // few: all pairs took 18 s to start with, and TestAllSmallNames has the hard ones
		f.Add(tt.name, tt.escaped)
		f.Add(tt.name, legal[(i+1)%len(legal)].name)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		var s tributary.Subjects
		subjectA, errA := s.Subject(a)
		subjectB, errB := s.Subject(b)
		if errA != nil || errB != nil {
			return
		}
		if (a == b) != (subjectA == subjectB) || (a == b) != server.SubjectsCollide(subjectA, subjectB) {
			t.Errorf("%q and %q have the subjects %q and %q", a, b, subjectA, subjectB)
		}
	})
}

func FuzzStreamUUIDOfAnySubject(f *testing.F) {
	addNames(f, func(text string) {
		f.Add("", text)
		f.Add("", "events."+text)
	})
	for _, tt := range legal {
		f.Add("", "events."+tt.escaped)
		f.Add("acme", "acme."+tt.escaped)
	}
	for _, subject := range []string{"events.%2a", "events.%", "events.%41", "events.%2%2A", "events.>", "events", ""} {
		f.Add("", subject)
	}
	f.Fuzz(func(t *testing.T, prefix, subject string) {
		s := tributary.Subjects{Prefix: prefix}
		name, err := s.StreamUUID(subject)
		if err != nil {
			if name != "" || errors.Is(err, tributary.ErrInvalidPrefix) == errors.Is(err, tributary.ErrForeignSubject) {
				t.Errorf("%q, %v", name, err)
			}
			return
		}
		if again, err := s.Subject(name); again != subject || err != nil {
			t.Errorf("%q is %q, whose subject is %q, %v", subject, name, again, err)
		}
	})
}

func FuzzUnder(f *testing.F) {
	addNames(f, func(text string) {
		f.Add("orders.eu", text, "orders.europe")
		f.Add(text, "1", "orders.eu")
		f.Add("a", "b", text)
	})
	f.Fuzz(func(t *testing.T, prefix, child, other string) {
		if prefix != "" && tributary.CheckStreamUUID(prefix) != nil {
			return
		}
		for _, name := range []string{prefix + "." + child, prefix, child, other} {
			if tributary.CheckStreamUUID(name) == nil {
				checkUnder(t, prefix, name)
			}
		}
	})
}
