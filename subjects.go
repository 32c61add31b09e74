// Package tributary is an event store on NATS JetStream.
//
// This package holds what every part of the library agrees on: what may be the
// name of an event stream, and on which NATS subject its events are stored, so
// that anything that speaks NATS can find them. Events are written and read
// with the packages below it: backend has the interface and its types, and
// jetstream and backend/memory implement it.
//
// # Names
//
// The name of an event stream, its stream UUID, is any text of 1 to
// [MaxStreamUUIDBytes] bytes without spaces and control characters that does
// not start with "$": account-42, a UUID, orders.eu.2026. Names are compared
// byte for byte; two Unicode spellings of one text are two names. [CheckStreamUUID]
// tells whether a text is a name, and if not, why.
//
// # Subjects
//
// A name is written behind a prefix: account-42 is stored on events.account-42.
// Dots in a name separate the tokens of the subject, so names can form a
// hierarchy, and a subscription to a part of it is [Subjects.Under]. What a
// subject can't hold is escaped, one to one:
//
//	in the name             in the subject
//	%  *  >                 %25  %2A  %3E
//	U+FFFD                  %EF%BF%BD
//	nothing between dots    %               (a..b is a.%.b)
//	anything else           itself
package tributary

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxStreamUUIDBytes is the greatest length of an event stream's name, in bytes
// of UTF-8. Escaping makes a byte three at most, so that with the longest prefix
// a subject still has less than 1 KiB: the server closes the connection of a
// client that sends one of 4 KiB.
const MaxStreamUUIDBytes = 255

const (
	defaultPrefix  = "events"
	maxPrefixBytes = 128
)

var (
	// ErrInvalidStreamUUID comes for a text that can't be the name of an event
	// stream. The error that wraps it says why.
	ErrInvalidStreamUUID = errors.New("tributary: invalid event stream name")

	// ErrInvalidPrefix comes for a [Subjects] whose Prefix can't begin a subject.
	// The error that wraps it says why.
	ErrInvalidPrefix = errors.New("tributary: invalid subject prefix")

	// ErrForeignSubject comes for a subject that [Subjects.Subject] returns for no
	// name: something else wrote the message that was found there.
	ErrForeignSubject = errors.New("tributary: subject is not one that Subject returns")
)

// CheckStreamUUID returns nil if an event stream may have that name, and else an
// error that wraps [ErrInvalidStreamUUID] and gives the reason, with the place as
// a byte offset from 0. A name must not
//
//   - be empty, or longer than [MaxStreamUUIDBytes];
//   - start with "$": such names are reserved;
//   - contain a space, a control character (Unicode's category Cc, so also tabs,
//     line breaks, NUL, DEL and U+0080 to U+009F), or invalid UTF-8.
//
// It is up to the library to refuse these: NATS's own client lets most of them
// pass, and the server stores them.
func CheckStreamUUID(streamUUID string) error {
	switch {
	case streamUUID == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidStreamUUID)
	case len(streamUUID) > MaxStreamUUIDBytes:
		return fmt.Errorf("%w: %d bytes are more than %d: %s",
			ErrInvalidStreamUUID, len(streamUUID), MaxStreamUUIDBytes, quote(streamUUID))
	case streamUUID[0] == '$':
		return fmt.Errorf("%w: names that start with $ are reserved: %s", ErrInvalidStreamUUID, quote(streamUUID))
	}
	for i, r := range streamUUID {
		switch {
		case '!' <= r && r <= '~': // nearly always, so first
		case r == ' ':
			return fmt.Errorf("%w: space at byte %d: %s", ErrInvalidStreamUUID, i, quote(streamUUID))
		case unicode.IsControl(r):
			return fmt.Errorf("%w: control character %U at byte %d: %s", ErrInvalidStreamUUID, r, i, quote(streamUUID))
		case r == utf8.RuneError && !strings.HasPrefix(streamUUID[i:], "\uFFFD"): // which may stand there as itself
			return fmt.Errorf("%w: invalid UTF-8 at byte %d: %s", ErrInvalidStreamUUID, i, quote(streamUUID))
		}
	}
	return nil
}

// Subjects maps the names of event streams to NATS subjects and back. The zero
// value is ready to use. All methods may be called concurrently.
type Subjects struct {
	// Prefix begins every subject. Empty means "events". Else it has at most 128
	// bytes and one or more tokens, separated by dots, of ASCII letters, digits,
	// "-" and "_".
	//
	// Of two event stores in one NATS account neither's Prefix may begin with
	// the tokens of the other's, as acme.test does with those of acme: the
	// subjects of acme's event stream test.x would be those of acme.test's x.
	Prefix string
}

// Validate returns nil if the Prefix can begin a subject, and else an error that
// wraps [ErrInvalidPrefix] and gives the reason.
func (s Subjects) Validate() error {
	if len(s.Prefix) > maxPrefixBytes {
		return fmt.Errorf("%w: %d bytes are more than %d: %s",
			ErrInvalidPrefix, len(s.Prefix), maxPrefixBytes, quote(s.Prefix))
	}
	for i, last := 0, len(s.Prefix)-1; i <= last; i++ {
		switch c := s.Prefix[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c != '.':
			return fmt.Errorf("%w: neither letter, digit, '-' nor '_' at byte %d: %s", ErrInvalidPrefix, i, quote(s.Prefix))
		case i == 0 || i == last || s.Prefix[i-1] == '.':
			return fmt.Errorf("%w: nothing before or after the dot at byte %d: %s", ErrInvalidPrefix, i, quote(s.Prefix))
		}
	}
	return nil
}

// Subject returns the subject that holds the events of the event stream with that
// name, and of no other. It is shorter than 1 KiB and never has a wildcard.
//
// The error wraps [ErrInvalidStreamUUID] or [ErrInvalidPrefix].
func (s Subjects) Subject(streamUUID string) (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	if err := CheckStreamUUID(streamUUID); err != nil {
		return "", err
	}
	return s.prefix() + "." + escape(streamUUID), nil
}

// StreamUUID returns the name whose [Subjects.Subject] is the given subject. It is
// strict: a subject that says the same in another way (%2a for %2A, %41 for A) is
// an error, else two subjects would be one event stream.
//
// The error wraps [ErrForeignSubject] or [ErrInvalidPrefix].
func (s Subjects) StreamUUID(subject string) (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(subject, s.prefix())
	escaped, dot := strings.CutPrefix(rest, ".")
	streamUUID := unescape(escaped)
	if !ok || !dot || CheckStreamUUID(streamUUID) != nil || escape(streamUUID) != escaped {
		return "", fmt.Errorf("%w: %s", ErrForeignSubject, quote(subject))
	}
	return streamUUID, nil
}

// All returns the wildcard that matches the subject of every event stream, and
// no subject without the prefix. It leaves checking the Prefix to
// [Subjects.Validate].
func (s Subjects) All() string { return s.prefix() + ".>" }

// Under returns the wildcard that matches the subjects of the event streams whose
// names begin with prefix and a dot, at any depth: with orders.eu those of
// orders.eu.1 and orders.eu.de.7, but neither that of orders.eu itself nor that
// of orders.europe. The prefix is a name, without a dot at its end and without
// s.Prefix. With an empty one Under is [Subjects.All].
//
// The error wraps [ErrInvalidStreamUUID] or [ErrInvalidPrefix].
func (s Subjects) Under(prefix string) (string, error) {
	if prefix == "" {
		if err := s.Validate(); err != nil {
			return "", err
		}
		return s.All(), nil
	}
	subject, err := s.Subject(prefix)
	if err != nil {
		return "", err
	}
	return subject + ".>", nil
}

func (s Subjects) prefix() string { return cmp.Or(s.Prefix, defaultPrefix) }

// escape writes a name as the tokens of a subject. Asterisks and greater-than
// signs are wildcards only where they are a token alone, but are escaped
// everywhere: parts of the server (SubjectsCollide in 2.15.2) look at no more than
// a token's first byte. U+FFFD is escaped because the server takes a subject with
// it for a corrupt index when it starts, and reads every message to build another:
// 2.8 s instead of 1.7 s with two million messages (nats-server 2.15.2).
func escape(name string) string {
	if !needsEscape(name) {
		return name // nearly always, so without a copy
	}
	var b strings.Builder
	b.Grow(3 * len(name))
	for token := range strings.SplitSeq(name, ".") {
		if b.Len() > 0 {
			b.WriteByte('.') // a token is never written as nothing, so only the first one finds b empty
		}
		if token == "" {
			b.WriteByte('%') // alone it stands for nothing else: those of a name have two digits
		}
		for _, r := range token {
			switch r {
			case '%':
				b.WriteString("%25")
			case '*':
				b.WriteString("%2A")
			case '>':
				b.WriteString("%3E")
			case utf8.RuneError:
				b.WriteString("%EF%BF%BD")
			default:
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

// unescape undoes escape. What escape can't have written becomes some text or
// other, whose own escape is something else.
func unescape(escaped string) string {
	if !strings.Contains(escaped, "%") {
		return escaped
	}
	tokens := strings.Split(escaped, ".")
	for i, token := range tokens {
		if token == "%" {
			token = ""
		}
		token = strings.ReplaceAll(token, "%2A", "*")
		token = strings.ReplaceAll(token, "%3E", ">")
		token = strings.ReplaceAll(token, "%EF%BF%BD", "\uFFFD")
		tokens[i] = strings.ReplaceAll(token, "%25", "%") // last, or %252A would become an asterisk
	}
	return strings.Join(tokens, ".")
}

func needsEscape(name string) bool {
	empty := true // the token so far
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.' && empty, c == '%', c == '*', c == '>', c == "\uFFFD"[0] && strings.HasPrefix(name[i:], "\uFFFD"):
			return true
		default:
			empty = c == '.'
		}
	}
	return empty
}

// quote makes a text of any length and content fit into an error's text.
func quote(text string) string {
	const shown = 32 // characters
	if utf8.RuneCountInString(text) <= shown {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%.*q...", shown, text)
}
