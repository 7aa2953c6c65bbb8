"""Random faults under constant load, judged by packets: `./dev chaos`."""
