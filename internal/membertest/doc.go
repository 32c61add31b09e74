// Package membertest has the members of a named subscription in processes of
// their own, and kills them.
package membertest
