package jobs

// Sizes is how much of everything there is.
type Sizes struct {
	Appends int // an append's round
	Batches int // a round of atomic batches
	Writers int // goroutines that append at the same time
	Each    int // appends of each in a round

	Scattered int // event streams with a load's worth of commits
	Loads     int // a round
	Consumers int // reads through an ordered consumer in a round

	Forward  int // events read forward
	Deep     int // commits of the long event stream
	Page     int // events of a page
	Pages    int // read in a round
	Imported int // appends of an import's round
	ImportTo int // event streams that they go to

	FollowStreams int // event streams whose commits are followed, Forward together
	Live          int // appends of a round that are waited for

	HeadStreams int // event streams that heads are cached of
	HeadWarm    int // appends before a cache is measured
	HeadAppends int // a round
}

// Full is what the report is made from.
func Full() Sizes {
	return Sizes{
		Appends: 200, Batches: 20, Writers: 64, Each: 50,
		Scattered: 1000, Loads: 50, Consumers: 10,
		Forward: 200_000, Deep: 100_000, Page: 100, Pages: 80,
		Imported: 20_000, ImportTo: 4000,
		FollowStreams: 200, Live: 300,
		HeadStreams: 100_000, HeadWarm: 60_000, HeadAppends: 500,
	}
}

// Small runs everything, shortly.
func Small() Sizes {
	return Sizes{
		Appends: 5, Batches: 2, Writers: 64, Each: 1,
		Scattered: 20, Loads: 5, Consumers: 1,
		Forward: 2000, Deep: 1000, Page: 100, Pages: 5,
		Imported: 500, ImportTo: 100,
		FollowStreams: 20, Live: 20,
		HeadStreams: 200, HeadWarm: 100, HeadAppends: 50,
	}
}
