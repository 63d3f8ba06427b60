//go:build race

package interpreted

// raceDetector says whether the race detector watches, under which all takes ten times as
// long.
const raceDetector = true
