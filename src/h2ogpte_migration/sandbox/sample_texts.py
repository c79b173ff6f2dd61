"""What some documents of the sample organisation say, so that questions about them make sense."""

from __future__ import annotations

#: Texts by the document's name.
TEXTS = {
    "attention.pdf": (
        "A sequence model can do without recurrence if every position may look at every other"
        " one. Each word is turned into a query, a key and a value; the likeness of query and key"
        " decides how much of a value is taken over. Several such heads work side by side, and"
        " each of them learns to look for something else. Because no step has to wait for the one"
        " before, training runs on many processors at once and is over in days. On translation"
        " from English to German the model was better than all earlier ones, ensembles included."
        " Since the order of words would be lost, waves of different lengths are added to the"
        " vectors, from which the model reads where in the sentence a word stands."
    ),
    "scaling.pdf": (
        "The loss of a language model falls as a power of the number of its parameters, of the"
        " size of the data, and of the compute that was spent, over seven orders of magnitude."
        " Width and depth matter little as long as the total stays the same. Large models need"
        " fewer examples to reach the same loss, so that with a given budget it is best to train"
        " a very large model and to stop long before it has converged. If data runs out first,"
        " the model learns its examples by heart; how much data is needed grows more slowly than"
        " the model does. The laws were measured on web pages and hold for books and code, too."
    ),
    "graphs.pdf": (
        "A graph of entities and relations can be drawn from documents by a language model, page"
        " by page. Communities in the graph are found by how densely they are linked, and each"
        " gets a summary. A question about the whole of a corpus, which no single passage can"
        " answer, is put to all summaries; the partial answers are then put together. Questions"
        " about one fact are still answered faster by the nearest passages. Whenever the embedding"
        " model changes, the graph has to be built anew, because its nodes were matched by vectors."
    ),
    "lease.pdf": (
        "The landlord lets to the tenant the rooms on the second floor of Harbour Street 12 from"
        " the first of April for five years. The monthly rent of 4,200 euros is due on the third"
        " working day. It rises once a year with the index of consumer prices. The tenant may"
        " sublet with the landlord's consent, which must not be withheld without good reason."
        " Either party may give notice of six months to the end of a quarter. Repairs of the roof"
        " and of the heating are the landlord's, all others up to 500 euros are the tenant's."
    ),
    "supply.docx": (
        "The supplier delivers 300 pallets of recycled paper each month to the plant in Kassel."
        " Delivery is late if it arrives after noon of the agreed day; for each full day of delay"
        " the price falls by one percent, by ten percent at most. The buyer inspects the goods"
        " within eight days. The moisture of the paper must not be above nine percent. Payment is"
        " due thirty days after the invoice. The contract ends after two years unless both parties"
        " renew it in writing."
    ),
}
