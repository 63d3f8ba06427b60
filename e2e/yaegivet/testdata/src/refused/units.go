package refused

var units = []string{"EUR", "CHF"}

// refused.go comes before this file.
var rateOfUnit = rateOf()

func rateOf() int { return rates[0] }
