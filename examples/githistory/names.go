package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tributary-es/tributary"
)

// repositoryPrefix begins the names of all event streams of the repository that
// key identifies, see [repository.key].
func repositoryPrefix(key string) string { return "git." + key }

// streamName names the event stream of the file at path, in a way that makes
// directories the levels of a hierarchical name: cmd/bbolt/main.go is
//
//	git.7b38858d98c2.cmd.bbolt.main:go
//
// so that git.7b38858d98c2.cmd.bbolt is what to read, or to subscribe to, for
// everything in that directory. A path may be any bytes but NUL, a name may not:
//
//	in the path                           in the name
//	/                                     .
//	.                                     :
//	: and =                               =3A and =3D
//	spaces, control characters,           = and two hex digits for each byte
//	bytes that aren't UTF-8
//
// That is one to one. A name that would be too long is cut and ends in =~ and a
// hash of the path, which no escaped path has; the event's data has the path in
// full. (Escapes begin with = and not with %, because a % in a name is escaped
// once more in its subject, where people read it.)
func streamName(key, path string) string {
	prefix := repositoryPrefix(key) + "."
	escaped := escapePath(path)
	if len(prefix)+len(escaped) <= tributary.MaxStreamUUIDBytes {
		return prefix + escaped
	}
	sum := sha256.Sum256([]byte(path))
	suffix := "=~" + hex.EncodeToString(sum[:16])
	cut := tributary.MaxStreamUUIDBytes - len(prefix) - len(suffix)
	for !utf8.RuneStart(escaped[cut]) {
		cut--
	}
	return prefix + escaped[:cut] + suffix
}

func escapePath(path string) string {
	var b strings.Builder
	b.Grow(len(path))
	for i, r := range path {
		size := utf8.RuneLen(r)
		switch {
		case r == '/':
			b.WriteByte('.')
		case r == '.':
			b.WriteByte(':')
		case r == utf8.RuneError && !strings.HasPrefix(path[i:], "\uFFFD"):
			size = 1 // not UTF-8; range goes on with the next byte
			fallthrough
		case r == ':', r == '=', r == ' ', unicode.IsControl(r):
			for _, c := range []byte(path[i : i+size]) {
				fmt.Fprintf(&b, "=%02X", c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
