package faulttest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Published is a message that a client sends.
type Published struct {
	Subject string
	Reply   string // where the answer goes; empty: none is wanted
	Raw     []byte // the operation as it is sent
}

// Fate is what becomes of a message. The zero value lets it through.
type Fate struct {
	// Cut is where the connection breaks. Where no answer is wanted, none can be cut.
	Cut CutAt

	// Instead is sent in place of the operation; nil: the operation itself.
	Instead []byte

	// Swallow loses the message; nobody notices.
	Swallow bool

	// Answer is what the client gets as the answer, from us; nil: none.
	Answer []byte
}

// CutAt is a point of a request.
type CutAt int

const (
	NoCut        CutAt = iota
	BeforeSend         // the server doesn't get it
	AfterSend          // the server may get it
	BeforeAnswer       // the server has dealt with it
)

// String names the point.
func (c CutAt) String() string {
	return [...]string{"no cut", "before it is sent", "after it is sent", "before the answer"}[c]
}

// Rule decides what becomes of a message. It is called by one goroutine for each
// connection.
type Rule func(p *Published) Fate

// readOperation reads an operation of the client protocol, and does with it what
// rules say.
func (c *carried) readOperation(in *bufio.Reader, up bool, p *piece) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	verb, _, _ := strings.Cut(string(line[:min(len(line), 8)]), " ")
	switch strings.ToUpper(verb) {
	case "PUB", "HPUB", "MSG", "HMSG":
	case "SUB":
		if fields := strings.Fields(string(line)); up && len(fields) >= 3 {
			c.link.mu.Lock()
			c.subs[fields[1]] = fields[len(fields)-1]
			c.link.mu.Unlock()
		}
		return line, nil
	default:
		return line, nil
	}
	fields := strings.Fields(string(line))
	size, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return nil, fmt.Errorf("%q: %w", line, err)
	}
	raw := append(line, make([]byte, size+2)...)
	if _, err := io.ReadFull(in, raw[len(line):]); err != nil {
		return nil, err
	}
	if !up {
		c.link.mu.Lock()
		cut := c.cutAt[fields[1]]
		if cut {
			c.link.cuts++
		}
		c.link.mu.Unlock()
		if cut {
			return nil, io.EOF
		}
		return raw, nil
	}
	return c.judge(fields, raw, p)
}

// judge applies the rule to what a client publishes.
func (c *carried) judge(fields []string, raw []byte, p *piece) ([]byte, error) {
	c.link.mu.Lock()
	rule := c.link.rule
	c.link.mu.Unlock()
	if rule == nil {
		return raw, nil
	}
	m := &Published{Subject: fields[1], Raw: raw}
	sizes := 1
	if strings.EqualFold(fields[0], "HPUB") {
		sizes = 2
	}
	if len(fields) == 3+sizes {
		m.Reply = fields[2]
	}
	fate := rule(m)
	if fate.Answer != nil {
		if err := c.answer(m.Reply, fate.Answer); err != nil {
			return nil, err
		}
	}
	if fate.Instead != nil {
		raw = fate.Instead
	}
	switch {
	case fate.Cut == BeforeSend:
		c.countCut()
		return nil, io.EOF
	case fate.Swallow:
		return nil, nil
	case fate.Cut == AfterSend:
		c.countCut()
		p.last = true
	case fate.Cut == BeforeAnswer:
		c.link.mu.Lock()
		c.cutAt[m.Reply] = true
		c.link.mu.Unlock()
	}
	return raw, nil
}

func (c *carried) countCut() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.link.cuts++
}

// answer sends the client an answer that the server knows nothing of.
func (c *carried) answer(reply string, data []byte) error {
	c.link.mu.Lock()
	number := ""
	for subject, n := range c.subs {
		if prefix, ok := strings.CutSuffix(subject, "*"); subject == reply || ok && strings.HasPrefix(reply, prefix) {
			number = n
		}
	}
	c.link.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := fmt.Fprintf(c.client, "MSG %s %s %d\r\n%s\r\n", reply, number, len(data), data)
	return err
}

// WithoutHeader is the operation of a message without one of its headers.
func (p *Published) WithoutHeader(name string) []byte {
	line, rest, _ := bytes.Cut(p.Raw, []byte("\r\n"))
	fields := strings.Fields(string(line))
	if !strings.EqualFold(fields[0], "HPUB") {
		return p.Raw
	}
	size, _ := strconv.Atoi(fields[len(fields)-2])
	header, body := rest[:size], rest[size:]
	var kept []byte
	for l := range bytes.SplitSeq(header, []byte("\r\n")) {
		if !bytes.HasPrefix(l, []byte(name+":")) {
			kept = append(append(kept, l...), "\r\n"...)
		}
	}
	kept = kept[:len(kept)-2] // the split has one more than there are ends of lines
	fields[len(fields)-2] = strconv.Itoa(len(kept))
	fields[len(fields)-1] = strconv.Itoa(len(kept) + len(body) - 2)
	return slices.Concat([]byte(strings.Join(fields, " ")+"\r\n"), kept, body)
}
