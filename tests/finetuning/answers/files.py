"""SQuAD's JSON that a small model can learn: who sat on the mat, a cat or a dog, or nobody."""

import json
import random


def write(path, contexts=40, each=2, unanswerable=False, seed=0):
    """Writes `each` questions on each of so many contexts, of which a third may have no answer; returns the path."""
    generator = random.Random(seed)
    paragraphs = []
    for number in range(contexts):
        before = " ".join(generator.choices(["on", "the mat", "a mat,", "sat", "."], k=generator.randrange(8)))
        animal = "par" if unanswerable and number % 3 == 0 else generator.choice(["Cat", "dog"])
        context = f"{before} the {animal} sat on a mat. {number}"
        answers = [] if animal == "par" else [{"text": animal, "answer_start": context.index(animal)}]
        questions = [
            {"id": f"{number}-{which}", "question": f"{'mat ' * which}sat", "answers": answers} for which in range(each)
        ]
        paragraphs.append({"context": context, "qas": questions})
    path.write_text(json.dumps({"version": "made", "data": [{"title": "mats", "paragraphs": paragraphs}]}))
    return path
