package jetstream

// paths switches the faster ways of doing something off, so that tests can show
// that the slower ones alone are right. The zero value has all of them on.
type paths struct {
	noChain  bool // reads go through consumers, never along the chain
	noSeek   bool // a scan begins where the store does, not just before what is wanted
	noDirect bool // the leader answers every get, and no other replica or mirror
}
