// Package faulttest breaks servers and connections on purpose, under load, and
// checks that nothing acknowledged was lost or doubled. docs/reliability.md
// says what it does and what came of it.
//
// # Basics
//
// [Start] starts nats-server itself, one process or a cluster of them, which can
// be killed, paused and restarted. All connections, of clients and between the
// servers, go through a [Link] each, which can be cut, held up, slowed down or
// made to lose bytes, in one direction or both.
//
//	c := faulttest.Start(t, 3)
//	load := c.StartLoad(t, faulttest.LoadConfig{})
//	c.Nodes[0].Kill()
//	...
//	c.Recover()
//	load.Finish()
//
// A load writes down what it asks of the store and what it was answered, in a
// [Ledger]. The check compares that with what is stored in the end.
package faulttest
